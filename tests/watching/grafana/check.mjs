// node check.mjs DASHBOARD.json...: each fault of a dashboard on a line of its own; exit code 1 where there is one.
// Objects are closed: a key that Grafana's types do not have is a fault.
import { readFileSync } from "node:fs";
import Ajv from "ajv";
import { createGenerator } from "ts-json-schema-generator";

const here = new URL(".", import.meta.url).pathname;
const schema = createGenerator({
  path: `${here}types.ts`,
  tsconfig: `${here}tsconfig.json`,
  type: "*",
  skipTypeCheck: true,
  additionalProperties: false,
}).createSchema("*");
const ajv = new Ajv({ allErrors: true, strict: false });
ajv.addSchema(schema, "grafana");
const check = (type) => ajv.getSchema(`grafana#/definitions/${type}`);

function faults(type, value, where) {
  const validate = check(type);
  if (!validate) return [`${where}: there is no type ${type}`];
  if (validate(value)) return [];
  return validate.errors.map((error) => {
    const extra = error.params.additionalProperty ? `: ${error.params.additionalProperty}` : "";
    return `${where}${error.instancePath}: ${error.message}${extra}`;
  });
}

let found = 0;
for (const file of process.argv.slice(2)) {
  const board = JSON.parse(readFileSync(file, "utf-8"));
  const name = file.split("/").pop();
  const lines = [];
  // A panel is one of two things for Grafana, a panel or a row: asked apart, a fault is told of the right one.
  for (const panel of board.panels ?? []) {
    const where = `${name} / ${panel.title}`;
    lines.push(...faults("OnePanel", panel, where));
    if (check(panel.type)) lines.push(...faults(panel.type, panel.options ?? {}, `${where} options`));
    else lines.push(`${where}: no schema for panels of type ${panel.type}`);
    const custom = panel.fieldConfig?.defaults?.custom;
    if (custom !== undefined) lines.push(...faults(`${panel.type}Custom`, custom, `${where} custom`));
    for (const target of panel.targets ?? []) {
      for (const key of Object.keys(target))
        if (!["refId", "datasource", "expr", "legendFormat", "instant", "range", "format"].includes(key))
          lines.push(`${where}: a query of Prometheus has no ${key}`);
    }
  }
  lines.push(...faults("Board", { ...board, panels: [] }, name));
  for (const line of lines) console.log(line);
  found += lines.length;
}
process.exit(found ? 1 : 0);
