{{- define "perwatt.name" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains $name .Release.Name -}}
{{ .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else -}}
{{ printf "%s-%s" .Release.Name $name | trunc 53 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- define "perwatt.selector" -}}
app.kubernetes.io/name: perwatt
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "perwatt.labels" -}}
{{ include "perwatt.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* "perwatt.image" (list .Values.image .Chart.AppVersion) */ -}}
{{- define "perwatt.image" -}}
{{- $image := index . 0 -}}
{{- if $image.digest -}}
{{ printf "%s@%s" $image.repository $image.digest }}
{{- else -}}
{{ printf "%s:%s" $image.repository (default (index . 1) $image.tag) }}
{{- end -}}
{{- end -}}

{{- define "perwatt.account" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "perwatt.name" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end -}}

{{- /* "perwatt.pod" (list . .Values.PART ARCHITECTURE): who a pod is and where it may run. */ -}}
{{- define "perwatt.pod" -}}
{{- $top := index . 0 -}}
{{- $part := index . 1 -}}
{{- $nodes := dict "kubernetes.io/os" "linux" -}}
{{- with index . 2 }}
{{- $_ := set $nodes "kubernetes.io/arch" . }}
{{- end -}}
serviceAccountName: {{ include "perwatt.account" $top }}
automountServiceAccountToken: false
nodeSelector:
  {{- toYaml (merge $nodes $part.nodeSelector) | nindent 2 }}
{{- with $part.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext:
  {{- $ours := dict "runAsNonRoot" true "runAsUser" 10001 "runAsGroup" 10001 "fsGroup" 10001 }}
  {{- $_ := set $ours "fsGroupChangePolicy" "OnRootMismatch" }}
  {{- $_ := set $ours "seccompProfile" (dict "type" "RuntimeDefault") }}
  {{- toYaml (merge (deepCopy $top.Values.podSecurityContext) $ours) | nindent 2 }}
{{- with $top.Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Whoever includes it mounts a writable /tmp: opening a generation makes a folder there. */ -}}
{{- define "perwatt.containerSecurity" -}}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "perwatt.unavailable" -}}
{{- $unavailable := .Values.disruptionBudget.maxUnavailable -}}
{{ if kindIs "string" $unavailable }}{{ $unavailable }}{{ else }}{{ int $unavailable }}{{ end }}
{{- end -}}

{{- /* "perwatt.key" NAME: the variable of a key that is in a secret. */ -}}
{{- define "perwatt.key" -}}
env:
  - {name: PERWATT_KEY, valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: key}}}
{{- end -}}

{{- /* "perwatt.copies" (list . RESOURCES): of a container that copies indexes into the pod, with the credentials of a
secret, which no argument shows. */ -}}
{{- define "perwatt.copies" -}}
{{- $resources := index . 1 -}}
{{- with index . 0 -}}
{{- $copied := ternary .Values.indexes.pull .Values.indexes.fetch (eq .Values.indexes.source "pull") -}}
{{- with $copied.secret }}
envFrom:
  - secretRef: {name: {{ . | quote }}}
{{- end }}
{{- with .Values.serve.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{ include "perwatt.containerSecurity" . }}
resources:
  {{- toYaml $resources | nindent 2 }}
volumeMounts:
  - {name: indexes, mountPath: /indexes}
  - {name: tmp, mountPath: /tmp}
  {{- with .Values.serve.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}
{{- end -}}

{{/* Who encodes in place of the pods; nothing where they do it themselves. */}}
{{- define "perwatt.encoder" -}}
{{- if .Values.encoder.url }}
- --encoder={{ .Values.encoder.url }}
{{- with .Values.encoder.model }}
- --model={{ . }}
{{- end }}
{{- end }}
{{- end }}

{{- define "perwatt.encoderKey" -}}
{{- with .Values.encoder.keySecret }}
- name: PERWATT_ENCODER_KEY
  valueFrom: {secretKeyRef: {name: {{ . }}, key: key}}
{{- end }}
{{- end }}

{{- /* Whether a job reads inputs of a claim: always, unless it is in a store and no input is a path. */ -}}
{{- define "perwatt.jobReads" -}}
{{- if not .Values.job.store -}}yes{{- end -}}
{{- range .Values.job.inputs -}}{{- if not (contains "://" .) -}}yes{{- end -}}{{- end -}}
{{- end -}}

{{- /* What the workers of a job share: inputs, the folder of the job, and the indexes, unless a store has them. */ -}}
{{- define "perwatt.jobMounts" -}}
{{- if include "perwatt.jobReads" . }}
- {name: documents, mountPath: /documents, readOnly: true}
{{- end }}
{{- if not .Values.job.store }}
- {name: jobs, mountPath: /jobs}
- {name: indexes, mountPath: /indexes}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- if .Values.models.claim }}
- {name: models, mountPath: /models, readOnly: true}
{{- end }}
{{- if .Values.modelCache.writable }}
- {name: cache, mountPath: /cache}
{{- end }}
{{- end -}}

{{- define "perwatt.jobVolumes" -}}
{{- if include "perwatt.jobReads" . }}
- name: documents
  persistentVolumeClaim: {claimName: {{ .Values.job.documents.claim | quote }}, readOnly: true}
{{- end }}
{{- if not .Values.job.store }}
- name: jobs
  persistentVolumeClaim: {claimName: {{ .Values.job.folder.claim | quote }}}
- name: indexes
  persistentVolumeClaim: {claimName: {{ .Values.indexes.volume.claim | quote }}}
{{- end }}
- name: tmp
  emptyDir: {}
{{- with .Values.models.claim }}
- name: models
  persistentVolumeClaim: {claimName: {{ . | quote }}, readOnly: true}
{{- end }}
{{- if .Values.modelCache.writable }}
- name: cache
  emptyDir: {sizeLimit: {{ .Values.modelCache.sizeLimit }}}
{{- end }}
{{- end -}}

{{- /* The credentials for a store, which no argument shows. */ -}}
{{- define "perwatt.jobSecret" -}}
{{- with .Values.job.secret }}
envFrom:
  - secretRef: {name: {{ . | quote }}}
{{- end }}
{{- end -}}

{{- /* "perwatt.rayPod" (list . REQUESTS): the template of a node of Ray's. */ -}}
{{- define "perwatt.rayPod" -}}
{{- $top := index . 0 -}}
{{- $job := $top.Values.job -}}
metadata:
  labels:
    {{- include "perwatt.labels" $top | nindent 4 }}
    app.kubernetes.io/component: ray
spec:
  {{- include "perwatt.pod" (list $top $job $top.Values.architecture) | nindent 2 }}
  {{- with $job.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  containers:
    - name: ray
      image: {{ include "perwatt.image" (list $job.ray.image $top.Chart.AppVersion) }}
      imagePullPolicy: {{ $top.Values.image.pullPolicy }}
      env:
        - {name: RAY_USAGE_STATS_ENABLED, value: "0"}
        {{- if $top.Values.modelCache.writable }}
        - {name: PERWATT_CACHE, value: /cache}
        {{- end }}
        {{- with $job.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
        {{- include "perwatt.encoderKey" $top | nindent 8 }}
{{- include "perwatt.jobSecret" $top | nindent 6 }}
      resources:
        requests:
          {{- toYaml (index . 1) | nindent 10 }}
        limits:
          {{- toYaml $job.resources.limits | nindent 10 }}
      volumeMounts:
        {{- include "perwatt.jobMounts" $top | nindent 8 }}
  volumes:
    {{- include "perwatt.jobVolumes" $top | nindent 4 }}
{{- end -}}
