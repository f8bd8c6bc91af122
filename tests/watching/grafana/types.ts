// What a dashboard of ours may hold, in Grafana's own types: the schema is made from these.
import type { Dashboard, Panel, DataSourceRef, VariableModel } from "./node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen";
import type { Options as BarGauge } from "./node_modules/@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen";
import type { Options as Stat } from "./node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen";
import type {
  FieldConfig,
  Options as TimeSeries,
} from "./node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen";

export type Board = Dashboard;
export type OnePanel = Panel;
export type Variable = VariableModel;
export type Source = DataSourceRef;
export type bargauge = Partial<BarGauge>;
export type stat = Partial<Stat>;
export type timeseries = Partial<TimeSeries>;
export type timeseriesCustom = FieldConfig;
