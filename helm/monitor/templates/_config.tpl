{{/* The service's configuration: `config`, and what the chart alone knows. */}}
{{- define "monitor.modelPath" -}}
{{- printf "/var/lib/monitor/models/%s" .Values.model.path -}}
{{- end -}}

{{- define "monitor.port" -}}
{{- dig "web" "port" 9108 .Values.config -}}
{{- end -}}

{{- define "monitor.partitions" -}}
{{- dig "topics" "input" "partitions" 6 .Values.config -}}
{{- end -}}

{{- define "monitor.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $model := default dict $config.model -}}
{{- $_ := set $model "path" (include "monitor.modelPath" .) -}}
{{- $_ := set $config "model" $model -}}
{{- $kafka := default dict $config.kafka -}}
{{- $tls := default dict $kafka.tls -}}
{{- if .Values.tls.caSecret.name -}}
{{- $_ := set $tls "ca_file" "/etc/monitor/ca/ca.pem" -}}
{{- end -}}
{{- with .Values.tls.clientSecret -}}
{{- if .name -}}
{{- $_ := set $tls "certificate_file" "/etc/monitor/client/client.pem" -}}
{{- $_ := set $tls "key_file" "/etc/monitor/client/client.key" -}}
{{- if .passwordKey -}}
{{- $_ := set $tls "key_password_file" "/etc/monitor/client/key-password" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if $tls -}}{{- $_ := set $kafka "tls" $tls -}}{{- end -}}
{{- if .Values.sasl.secret.name -}}
{{- $sasl := default dict $kafka.sasl -}}
{{- $_ := set $sasl "password_file" "/etc/monitor/sasl/password" -}}
{{- $_ := set $kafka "sasl" $sasl -}}
{{- end -}}
{{- $_ := set $config "kafka" $kafka -}}
{{- toYaml $config -}}
{{- end -}}

{{/* What the schema cannot say, because it needs two values at once. */}}
{{- define "monitor.validate" -}}
{{- $v := .Values -}}
{{- $given := 0 -}}
{{- if $v.model.volume }}{{ $given = add1 $given }}{{ end -}}
{{- if $v.model.image.repository }}{{ $given = add1 $given }}{{ end -}}
{{- if $v.model.initContainer }}{{ $given = add1 $given }}{{ end -}}
{{- if ne (int $given) 1 -}}
{{- fail (printf "model: give exactly one of model.volume, model.image.repository and model.initContainer; %d are given" (int $given)) -}}
{{- end -}}
{{- $mechanism := dig "kafka" "sasl" "mechanism" "" $v.config -}}
{{- if and $mechanism (not $v.sasl.secret.name) -}}
{{- fail (printf "sasl.secret.name: config.kafka.sasl.mechanism is %s, and the Secret that holds the password is not named" $mechanism) -}}
{{- end -}}
{{- if and $v.sasl.secret.name (not $mechanism) -}}
{{- fail "config.kafka.sasl.mechanism: sasl.secret.name is given, and no mechanism (PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512)" -}}
{{- end -}}
{{- if and $mechanism (not $v.sasl.secret.usernameKey) (not (dig "kafka" "sasl" "username" "" $v.config)) -}}
{{- fail "config.kafka.sasl.username: give it, or sasl.secret.usernameKey" -}}
{{- end -}}
{{- if and (or $v.tls.caSecret.name $v.tls.clientSecret.name) (not (dig "kafka" "tls" "enabled" false $v.config)) -}}
{{- fail "config.kafka.tls.enabled: tls.caSecret or tls.clientSecret is given, and TLS is not enabled" -}}
{{- end -}}
{{- if ne $v.autoscaling.kind "none" -}}
{{- $partitions := include "monitor.partitions" . | int -}}
{{- if gt (int $v.autoscaling.maxReplicas) $partitions -}}
{{- fail (printf "autoscaling.maxReplicas: %d is more than the input's partitions (config.topics.input.partitions, %d): the others would be idle" (int $v.autoscaling.maxReplicas) $partitions) -}}
{{- end -}}
{{- if gt (int $v.autoscaling.minReplicas) (include "monitor.maxReplicas" . | int) -}}
{{- fail (printf "autoscaling.minReplicas: %d is more than the most there may be (%s)" (int $v.autoscaling.minReplicas) (include "monitor.maxReplicas" .)) -}}
{{- end -}}
{{- if and (eq $v.autoscaling.kind "keda") $mechanism (not $v.sasl.secret.usernameKey) -}}
{{- fail "sasl.secret.usernameKey: KEDA asks the brokers itself and takes the user name from the Secret" -}}
{{- end -}}
{{- end -}}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled -}}
{{- fail "podMonitor.enabled: serviceMonitor.enabled is true too, and every series would be there twice" -}}
{{- end -}}
{{- if $v.forward.enabled -}}
{{- if not (dig "forward" "url" "" $v.config) -}}
{{- fail "config.forward.url: forward.enabled is true, and there is no address to forward alerts to" -}}
{{- end -}}
{{- if ne (empty $v.forward.secret.usernameKey) (empty $v.forward.secret.passwordKey) -}}
{{- fail "forward.secret: give usernameKey and passwordKey, or neither" -}}
{{- end -}}
{{- if and $v.forward.secret.tokenKey $v.forward.secret.usernameKey -}}
{{- fail "forward.secret: give tokenKey, or usernameKey and passwordKey, not both" -}}
{{- end -}}
{{- if ne (empty $v.forward.secret.name) (and (empty $v.forward.secret.tokenKey) (empty $v.forward.secret.usernameKey) (empty $v.forward.secret.caKey)) -}}
{{- fail "forward.secret: give its name and at least one key, or neither" -}}
{{- end -}}
{{- end -}}
{{- if $v.retrain.enabled -}}
{{- if or (not $v.model.volume) $v.model.volume.image $v.model.volume.configMap -}}
{{- fail "model.volume: retrain.enabled writes the new artefact beside the old one, so the model must come from a volume that can be written" -}}
{{- end -}}
{{- if and (not $v.retrain.fromTopic) (not $v.retrain.files) -}}
{{- fail "retrain.files: retrain.fromTopic is false, and there is nothing to learn from" -}}
{{- end -}}
{{- if and $v.retrain.fromTopic $v.retrain.files -}}
{{- fail "retrain.files: retrain.fromTopic is true; learn from one of them" -}}
{{- end -}}
{{- if ne (empty $v.retrain.compare.files) (empty $v.retrain.compare.labels) -}}
{{- fail "retrain.compare: give files and labels, or neither" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "monitor.maxReplicas" -}}
{{- default (include "monitor.partitions" . | int) (int .Values.autoscaling.maxReplicas) -}}
{{- end -}}
