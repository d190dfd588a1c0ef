{{- /* "perwatt.shard" (list . NUMBER): what the objects of a shard are called. Its pods have longer names still. */ -}}
{{- define "perwatt.shard" -}}
{{ printf "%s-shard-%d" (include "perwatt.name" (index . 0) | trunc 36 | trimSuffix "-") (int (index . 1)) }}
{{- end -}}

{{- /* "perwatt.component" NUMBER: the labels of the pods of a shard, or of those that answer callers ("serve"). */ -}}
{{- define "perwatt.component" -}}
{{- if kindIs "string" . -}}
app.kubernetes.io/component: {{ . }}
{{- else -}}
app.kubernetes.io/component: shard
perwatt-shard: {{ . | quote }}
{{- end -}}
{{- end -}}

{{- /* "perwatt.serving" (list . NUMBER): the template of the pods that serve a shard; with "serve" for the number, of
those that answer callers: from all indexes, or as a router over the shards. */ -}}
{{- define "perwatt.serving" -}}
{{- $top := index . 0 -}}
{{- $given := . -}}
{{- $shards := $top.Values.shards -}}
{{- $sharded := gt (int $shards.count) 0 -}}
{{- $isShard := not (kindIs "string" (index . 1)) -}}
{{- $routes := and $sharded (not $isShard) -}}
{{- $labels := include "perwatt.component" (index . 1) -}}
{{- $root := "/indexes" -}}
{{- if $isShard -}}
{{- $root = printf "/indexes/%s.shards/%d-of-%d" $shards.index (int (index . 1)) (int $shards.count) -}}
{{- end -}}
{{- $shardKey := ternary $shards.keySecret "" $routes -}}
{{- $image := include "perwatt.image" (list $top.Values.image $top.Chart.AppVersion) -}}
{{- $resources := ternary $shards.resources $top.Values.serve.resources $isShard -}}
{{- $copies := and (ne $top.Values.indexes.source "volume") (not $routes) -}}
{{- $copied := ternary $top.Values.indexes.pull $top.Values.indexes.fetch (eq $top.Values.indexes.source "pull") -}}
{{- with $top -}}
metadata:
  labels:
    {{- include "perwatt.labels" . | nindent 4 }}
    {{- $labels | nindent 4 }}
    {{- with .Values.serve.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- /* Whoever follows the annotations has no key, and would count a service that refuses as one that is down; and who
  follows the ServiceMonitor would count all twice. */}}
  {{- $scraped := dict "prometheus.io/scrape" "true" "prometheus.io/port" "8000" "prometheus.io/path" "/metrics" }}
  {{- if or .Values.keys.secret .Values.serviceMonitor.enabled }}
  {{- $scraped = dict }}
  {{- end }}
  {{- with merge (dict) .Values.serve.podAnnotations $scraped }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
spec:
  {{- include "perwatt.pod" (list . .Values.serve .Values.architecture) | nindent 2 }}
  {{- with .Values.serve.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- if .Values.serve.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml .Values.serve.topologySpreadConstraints | nindent 4 }}
  {{- else if .Values.serve.spread }}
  topologySpreadConstraints:
    {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
    - topologyKey: {{ . }}
      maxSkew: 1
      whenUnsatisfiable: ScheduleAnyway
      labelSelector:
        matchLabels:
          {{- include "perwatt.selector" $top | nindent 10 }}
          {{- $labels | nindent 10 }}
    {{- end }}
  {{- end }}
  # SIGTERM starts the drain: /readyz says 503 while requests are still answered, then the rest is finished.
  terminationGracePeriodSeconds: {{ add .Values.serve.drainSeconds .Values.serve.graceSeconds 5 }}
  {{- if or $copies .Values.serve.extraInitContainers }}
  initContainers:
    {{- if not $copies }}
    {{- else if eq .Values.indexes.source "fetch" }}
    {{- range .Values.indexes.fetch.archives }}
    {{- $one := .name | replace "_" "-" | trunc 56 | trimSuffix "-" }}
    - name: fetch-{{ $one }}
      image: {{ $image }}
      imagePullPolicy: {{ $top.Values.image.pullPolicy }}
      command: [python3, -m, deploy.jobs.fetch]
      args: [{{ .url | quote }}, {{ .sha256 | quote }}, /indexes]
      {{- include "perwatt.copies" (list $top $resources) | nindent 6 }}
    - name: verify-{{ $one }}
      image: {{ $image }}
      imagePullPolicy: {{ $top.Values.image.pullPolicy }}
      args: [verify, {{ .name | quote }}, --root, /indexes]
      {{- include "perwatt.containerSecurity" $top | nindent 6 }}
      resources:
        {{- toYaml $top.Values.serve.resources | nindent 8 }}
      volumeMounts:
        - {name: indexes, mountPath: /indexes, readOnly: true}
        - {name: tmp, mountPath: /tmp}
    {{- end }}
    {{- else if $isShard }}
    - name: pull-shard
      image: {{ $image }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - pull
        - {{ $shards.index | quote }}
        - {{ .Values.indexes.pull.from | quote }}
        - --shard={{ printf "%d-of-%d" (int (index $given 1)) (int $shards.count) }}
        {{- with $shards.backup }}
        - --backup={{ . }}
        {{- end }}
        - --root=/indexes
      {{- include "perwatt.copies" (list . $resources) | nindent 6 }}
    {{- else }}
    {{- range .Values.indexes.pull.names }}
    - name: pull-{{ . | replace "_" "-" | trunc 58 | trimSuffix "-" }}
      image: {{ $image }}
      imagePullPolicy: {{ $top.Values.image.pullPolicy }}
      args: [pull, {{ . | quote }}, {{ $top.Values.indexes.pull.from | quote }}, --root=/indexes]
      {{- include "perwatt.copies" (list $top $resources) | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- with .Values.serve.extraInitContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  containers:
    - name: {{ ternary "route" "serve" $routes }}
      image: {{ $image }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        {{- if $routes }}
        - route
        - {{ $shards.index | quote }}
        {{- range $number := until (int $shards.count) }}
        {{- $name := include "perwatt.shard" (list $top $number) }}
        {{- $replicas := list }}
        {{- range until (int $shards.replicas) }}
        {{- $replicas = append $replicas (printf "http://%s-%d.%s:8000" $name . $name) }}
        {{- end }}
        - --shard={{ join "," $replicas }}
        {{- end }}
        # As long as a shard may take to load.
        - --wait=600
        {{- else }}
        - serve
        {{- range ternary (list $shards.index) .Values.indexes.names $sharded }}
        - {{ . | quote }}
        {{- end }}
        - --root={{ $root }}
        - --query-encoder={{ .Values.serve.queryEncoder }}
        {{- end }}
        - --host=0.0.0.0
        {{- if .Values.keys.secret }}
        - --keys=/keys/keys
        {{- else }}
        - --insecure
        {{- end }}
        - --workers={{ int .Values.serve.workers }}
        - --query-cache={{ int .Values.serve.queryCacheMiB }}
        {{- include "perwatt.encoder" . | nindent 8 }}
        {{- if and .Values.reranker.model (not $isShard) }}
        - --reranker={{ .Values.reranker.model }}
        {{- end }}
        - --threads={{ int .Values.serve.threads }}
        - --concurrency={{ int .Values.serve.concurrency }}
        - --queue={{ int .Values.serve.queue }}
        - --connections={{ int .Values.serve.connections }}
        - --timeout={{ .Values.serve.timeoutSeconds }}
        - --client-timeout={{ .Values.serve.clientTimeoutSeconds }}
        - --drain={{ int .Values.serve.drainSeconds }}
        - --grace={{ int .Values.serve.graceSeconds }}
        - --log-format={{ .Values.serve.logFormat }}
        {{- if and .Values.serve.follow (eq .Values.indexes.source "volume") (not $routes) }}
        - --follow
        {{- end }}
        {{- with .Values.serve.cpuPrice }}
        - --cpu-price={{ . }}
        {{- end }}
        {{- with .Values.serve.cpuWatts }}
        - --cpu-watts={{ . }}
        {{- end }}
        {{- if .Values.serve.accessLog }}
        - --access-log
        {{- end }}
        {{- if .Values.tracing.endpoint }}
        - --otel
        {{- end }}
        {{- range .Values.serve.arguments }}
        - {{ . | quote }}
        {{- end }}
      {{- with .Values.serve.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if or .Values.modelCache.writable .Values.tracing.endpoint .Values.serve.extraEnv .Values.encoder.keySecret .Values.reranker.keySecret $shardKey }}
      env:
        {{- with $shardKey }}
        - name: PERWATT_SHARD_KEY
          valueFrom: {secretKeyRef: {name: {{ . | quote }}, key: key}}
        {{- end }}
        {{- if .Values.modelCache.writable }}
        - {name: PERWATT_CACHE, value: /cache}
        {{- end }}
        {{- include "perwatt.encoderKey" . | nindent 8 }}
        {{- with .Values.reranker.keySecret }}
        - name: PERWATT_RERANKER_KEY
          valueFrom: {secretKeyRef: {name: {{ . }}, key: key}}
        {{- end }}
        {{- with .Values.tracing.endpoint }}
        - {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
        - {name: OTEL_TRACES_SAMPLER, value: parentbased_traceidratio}
        - {name: OTEL_TRACES_SAMPLER_ARG, value: {{ $top.Values.tracing.ratio | quote }}}
        {{- end }}
        {{- with .Values.serve.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
      ports:
        - {name: http, containerPort: 8000}
      # Loading checks every hash: as long as ten minutes for an index of tens of gigabytes.
      startupProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 2
        failureThreshold: 300
      readinessProbe:
        httpGet: {path: /readyz, port: http}
        periodSeconds: 2
        timeoutSeconds: 2
        failureThreshold: 2
      livenessProbe:
        httpGet: {path: /livez, port: http}
        periodSeconds: 10
        timeoutSeconds: 5
        failureThreshold: 6
      {{- include "perwatt.containerSecurity" . | nindent 6 }}
      resources:
        {{- toYaml $resources | nindent 8 }}
      volumeMounts:
        {{- if not $routes }}
        - {name: indexes, mountPath: /indexes, readOnly: true}
        {{- end }}
        - {name: tmp, mountPath: /tmp}
        {{- if .Values.keys.secret }}
        - {name: keys, mountPath: /keys, readOnly: true}
        {{- end }}
        {{- if .Values.models.claim }}
        - {name: models, mountPath: /models, readOnly: true}
        {{- end }}
        {{- if .Values.modelCache.writable }}
        - {name: cache, mountPath: /cache}
        {{- end }}
        {{- with .Values.serve.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
    {{- with .Values.serve.extraContainers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  volumes:
    {{- if not $routes }}
    - name: indexes
      {{- if ne .Values.indexes.source "volume" }}
      emptyDir: {sizeLimit: {{ $copied.sizeLimit }}}
      {{- else }}
      persistentVolumeClaim: {claimName: {{ .Values.indexes.volume.claim | quote }}, readOnly: true}
      {{- end }}
    {{- end }}
    - name: tmp
      emptyDir: {medium: Memory, sizeLimit: 64Mi}
    {{- with .Values.keys.secret }}
    - name: keys
      secret: {secretName: {{ . | quote }}}
    {{- end }}
    {{- with .Values.models.claim }}
    - name: models
      persistentVolumeClaim: {claimName: {{ . | quote }}, readOnly: true}
    {{- end }}
    {{- if .Values.modelCache.writable }}
    - name: cache
      emptyDir: {sizeLimit: {{ .Values.modelCache.sizeLimit }}}
    {{- end }}
    {{- with .Values.serve.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}
{{- end -}}
