{{- define "spanlet.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "spanlet.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "spanlet.selector" -}}
app.kubernetes.io/name: {{ include "spanlet.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "spanlet.labels" -}}
{{ include "spanlet.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "spanlet.serviceAccount" -}}
{{- default (ternary (include "spanlet.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "spanlet.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- /* Empty where the agent is told not to ask the API server. */ -}}
{{- define "spanlet.kubernetes" -}}
{{- if ne (toString (dig "kubernetes" "enabled" true .Values.config)) "false" }}yes{{ end }}
{{- end }}

{{- /* The names that the chart gives its mounts; never below /etc/spanlet, which is read only. */ -}}
{{- define "spanlet.secrets" -}}/etc/spanlet-otlp{{- end }}

{{- /* A TOML value. Helm reads numbers as floating point, TOML takes those for no integers. */ -}}
{{- define "spanlet.toml.value" -}}
{{- if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "spanlet.toml.value" $item }}{{ end }}]
{{- else if kindIs "map" . -}}
{ {{- $first := true }}{{ range $key, $value := . }}{{ if not $first }},{{ end }} {{ toJson $key }} = {{ include "spanlet.toml.value" $value }}{{ $first = false }}{{ end }} }
{{- else if kindIs "float64" . -}}
{{ int64 . }}
{{- else -}}
{{ toJson . }}
{{- end -}}
{{- end }}

{{- /* The keys of a table, one a line; tables among them are left out where `sections` is told apart. */ -}}
{{- define "spanlet.toml" -}}
{{- range $key, $value := . }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ include "spanlet.toml.value" $value }}
{{- end }}
{{- end }}
{{- range $section, $keys := . }}
{{- if kindIs "map" $keys }}

[{{ $section }}]
{{- range $key, $value := $keys }}
{{ $key }} = {{ include "spanlet.toml.value" $value }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- /* The user's keys. What also depends on the pod (addresses, mounted files) is in its environment: the pods that an
upgrade has not replaced yet read the new file, too. */ -}}
{{- define "spanlet.config" -}}
{{- include "spanlet.toml" .Values.config | trim }}
{{- end }}
