{{/* What both services have alike. The names of all objects are those of deploy/base: one release a namespace. */}}

{{/* The labels by which helm's own commands and other tools know whose an object is. Not on pods: a new version of the chart
     alone must not replace them. */}}
{{- define "mlops-lab.labels" -}}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/instance: {{ .Release.Name }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* A plain value as text. Numbers of a values file are floats to helm, which would print 2000000 as 2e+06. */}}
{{- define "mlops-lab.text" -}}
{{- if kindIs "string" . }}{{ . | quote }}{{ else if kindIs "invalid" . }}""{{ else }}{{ toJson . | quote }}{{ end }}
{{- end }}

{{/* The data of a ConfigMap of settings. */}}
{{- define "mlops-lab.settings" -}}
{{- range $name, $value := . }}
{{ $name }}: {{ include "mlops-lab.text" $value }}
{{- end }}
{{- end }}

{{/* Variables of a container: POD_NAME, settings, and what is given as Kubernetes has it. */}}
{{- define "mlops-lab.env" -}}
- name: POD_NAME
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
{{- range $name, $value := .env }}
- name: {{ $name }}
  value: {{ include "mlops-lab.text" $value }}
{{- end }}
{{- with .extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Shown by `kubectl rollout history`. */}}
{{- define "mlops-lab.changeCause" -}}
{{ .Release.IsInstall | ternary "Initial deployment" (printf "helm revision %d" .Release.Revision) }} - {{ .image.name }} {{ .image.tag }}
{{- end }}

{{- define "mlops-lab.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
# Gives the mounted Secret files to this group; without it 0440 would leave them to root alone.
fsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "mlops-lab.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: ["ALL"]
{{- end }}

{{/* The probes of deploy/base, at the port that is named; their reasons are there. */}}
{{- define "mlops-lab.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: {{ . }}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 30
readinessProbe:
  httpGet:
    path: /readyz
    port: {{ . }}
  periodSeconds: 1
  timeoutSeconds: 1
  failureThreshold: 2
livenessProbe:
  httpGet:
    path: /livez
    port: {{ . }}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* Where pods may run. */}}
{{- define "mlops-lab.placement" -}}
{{- with .values.topologySpread }}
topologySpreadConstraints:
{{- range . }}
  - maxSkew: {{ int64 .maxSkew }}
    topologyKey: {{ .topologyKey }}
    whenUnsatisfiable: {{ .whenUnsatisfiable }}
    labelSelector:
      matchLabels:
        app: {{ $.app }}
    # Count each revision's pods apart, or the old ones skew the placing of the new during an update.
    matchLabelKeys:
      - pod-template-hash
{{- end }}
{{- end }}
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "mlops-lab.autoscaler" -}}
{{- if and (not .autoscaling.cpuUtilization) (not .autoscaling.metrics) }}
{{- fail (printf "%s.autoscaling: without cpuUtilization it needs metrics" .path) }}
{{- end }}
{{- $least := int64 .autoscaling.minReplicas }}
{{- $most := int64 .autoscaling.maxReplicas }}
{{- if gt $least $most }}
{{- fail (printf "%s.autoscaling: minReplicas %d is above maxReplicas %d" .path $least $most) }}
{{- end }}
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata:
  name: {{ .app }}-hpa
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "mlops-lab.labels" .root | nindent 4 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: Deployment
    name: {{ .app }}
  minReplicas: {{ $least }}
  maxReplicas: {{ $most }}
  metrics:
    {{- with .autoscaling.cpuUtilization }}
    - type: Resource
      resource:
        name: cpu
        target:
          type: Utilization
          averageUtilization: {{ int64 . }}
    {{- end }}
    {{- with .autoscaling.metrics }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .autoscaling.behavior }}
  behavior:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "mlops-lab.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ .app }}
  namespace: {{ .root.Release.Namespace }}
  labels:
    app: {{ .app }}
    {{- include "mlops-lab.labels" .root | nindent 4 }}
spec:
  maxUnavailable: {{ include "mlops-lab.count" .budget.maxUnavailable }}
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      app: {{ .app }}
{{- end }}

{{/* A number, or a share such as 25%. */}}
{{- define "mlops-lab.count" -}}
{{- if kindIs "string" . }}{{ . | quote }}{{ else }}{{ int64 . }}{{ end }}
{{- end }}
