{{/* Names and labels. */}}
{{- define "monitor.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{/* Pods are named by it, and a pod's name is its static name in the group: kept short enough for the hash of a revision. */}}
{{- define "monitor.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else if contains (include "monitor.name" .) .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "monitor.name" .) | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "monitor.instanceLabels" -}}
app.kubernetes.io/name: {{ include "monitor.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{/* What selects the serving pods alone: hooks and retraining have other components. */}}
{{- define "monitor.selector" -}}
{{ include "monitor.instanceLabels" . }}
app.kubernetes.io/component: serve
{{- end -}}

{{/* What selects the pods that forward alerts. */}}
{{- define "monitor.forwardSelector" -}}
{{ include "monitor.instanceLabels" . }}
app.kubernetes.io/component: forward
{{- end -}}

{{/* Call with (dict "root" $ "component" NAME). */}}
{{- define "monitor.labels" -}}
{{- with .root.Values.commonLabels }}
{{- toYaml . }}
{{ end -}}
{{ include "monitor.instanceLabels" .root }}
app.kubernetes.io/component: {{ .component }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "monitor.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "monitor.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* Call with (dict "image" VALUES "tag" DEFAULT). */}}
{{- define "monitor.image" -}}
{{- if .image.digest -}}
{{- printf "%s@%s" .image.repository .image.digest -}}
{{- else -}}
{{- printf "%s:%s" .image.repository (default .tag .image.tag) -}}
{{- end -}}
{{- end -}}
