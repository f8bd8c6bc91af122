{{/* Parts that pods share. */}}
{{- define "monitor.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "monitor.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "monitor.podPlace" -}}
enableServiceLinks: false
automountServiceAccountToken: false
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "monitor.podSecurity" . | nindent 2 }}
{{- end -}}

{{- define "monitor.env" -}}
- name: MONITOR_CONFIG
  value: /etc/monitor/config/monitor.yaml
{{- if .Values.sasl.secret.usernameKey }}
- name: MONITOR_KAFKA__SASL__USERNAME
  valueFrom:
    secretKeyRef:
      name: {{ .Values.sasl.secret.name }}
      key: {{ .Values.sasl.secret.usernameKey }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "monitor.mounts" -}}
- name: config
  mountPath: /etc/monitor/config
  readOnly: true
{{- if .Values.tls.caSecret.name }}
- name: ca
  mountPath: /etc/monitor/ca
  readOnly: true
{{- end }}
{{- if .Values.tls.clientSecret.name }}
- name: client
  mountPath: /etc/monitor/client
  readOnly: true
{{- end }}
{{- if .Values.sasl.secret.name }}
- name: sasl
  mountPath: /etc/monitor/sasl
  readOnly: true
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* Call with (dict "root" $ "config" NAME): a hook has a ConfigMap of its own, of the new configuration. */}}
{{- define "monitor.volumes" -}}
{{- $v := .root.Values -}}
- name: config
  configMap:
    name: {{ .config }}
{{- with $v.tls.caSecret }}
{{- if .name }}
- name: ca
  secret:
    secretName: {{ .name }}
    defaultMode: 288 # 0440
    items:
      - {key: {{ .key | quote }}, path: ca.pem}
{{- end }}
{{- end }}
{{- with $v.tls.clientSecret }}
{{- if .name }}
- name: client
  secret:
    secretName: {{ .name }}
    defaultMode: 288 # 0440
    items:
      - {key: {{ .certificateKey | quote }}, path: client.pem}
      - {key: {{ .keyKey | quote }}, path: client.key}
      {{- if .passwordKey }}
      - {key: {{ .passwordKey | quote }}, path: key-password}
      {{- end }}
{{- end }}
{{- end }}
{{- with $v.sasl.secret }}
{{- if .name }}
- name: sasl
  secret:
    secretName: {{ .name }}
    defaultMode: 288 # 0440
    items:
      - {key: {{ .passwordKey | quote }}, path: password}
{{- end }}
{{- end }}
{{- with $v.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "monitor.modelVolume" -}}
- name: models
  {{- if .Values.model.volume }}
  {{- toYaml .Values.model.volume | nindent 2 }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end -}}

{{/* The init containers that put the artefact into the volume `models`; none where it is a volume already. */}}
{{- define "monitor.modelInit" -}}
{{- with .Values.model.image }}
{{- if .repository }}
initContainers:
  - name: model
    image: {{ include "monitor.image" (dict "image" . "tag" "latest") }}
    imagePullPolicy: {{ .pullPolicy }}
    command:
      {{- toYaml .command | nindent 6 }}
      - {{ .source | quote }}
      - {{ include "monitor.modelPath" $ }}
    securityContext:
      {{- include "monitor.containerSecurity" $ | nindent 6 }}
    resources:
      {{- toYaml $.Values.hookResources | nindent 6 }}
    volumeMounts:
      - name: models
        mountPath: /var/lib/monitor/models
{{- end }}
{{- end }}
{{- with .Values.model.initContainer }}
initContainers:
  - {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}

{{/* Spec of a hook's pod. Call with (dict "root" $ "name" N "config" C "model" BOOL "command" LIST "arguments" LIST "scripts" BOOL). */}}
{{- define "monitor.hookPod" -}}
{{- include "monitor.podPlace" .root }}
restartPolicy: Never
{{- if .model }}
{{- include "monitor.modelInit" .root }}
{{- end }}
containers:
  - name: {{ .name }}
    image: {{ include "monitor.image" (dict "image" .root.Values.image "tag" .root.Chart.AppVersion) }}
    imagePullPolicy: {{ .root.Values.image.pullPolicy }}
    {{- with .command }}
    command:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    args:
      {{- toYaml .arguments | nindent 6 }}
    env:
      {{- include "monitor.env" .root | nindent 6 }}
    {{- with .root.Values.extraEnvFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    securityContext:
      {{- include "monitor.containerSecurity" .root | nindent 6 }}
    resources:
      {{- toYaml .root.Values.hookResources | nindent 6 }}
    volumeMounts:
      {{- include "monitor.mounts" .root | nindent 6 }}
      {{- if .model }}
      - name: models
        mountPath: /var/lib/monitor/models
        readOnly: true
      {{- end }}
      {{- if .scripts }}
      - name: scripts
        mountPath: /opt/scripts
        readOnly: true
      {{- end }}
volumes:
  {{- include "monitor.volumes" (dict "root" .root "config" .config) | nindent 2 }}
  {{- if .model }}
  {{- include "monitor.modelVolume" .root | nindent 2 }}
  {{- end }}
  {{- if .scripts }}
  - name: scripts
    configMap:
      name: {{ include "monitor.fullname" .root }}-scripts
  {{- end }}
{{- end -}}
