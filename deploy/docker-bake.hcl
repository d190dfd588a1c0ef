# Both architectures of every target by BuildKit: docker buildx bake -f deploy/docker-bake.hcl --push
# This machine's architecture only, into its own store: docker buildx bake -f deploy/docker-bake.hcl --load local

variable "REGISTRY" {
  default = ""
}

variable "TAG" {
  default = "local"
}

variable "VERSION" {
  default = "0.1.0"
}

variable "REVISION" {
  default = "unknown"
}

variable "SOURCE" {
  default = "unknown"
}

variable "BASE" {
  default = "debian:bookworm-slim"
}

# serve, or onnx for models that the kernels cannot run.
variable "RUNTIME" {
  default = "serve"
}

group "default" {
  targets = ["serve", "loadtest"]
}

group "local" {
  targets = ["serve-local", "loadtest-local"]
}

target "common" {
  context    = "."
  dockerfile = "deploy/Dockerfile"
  args = {
    BASE     = BASE
    VERSION  = VERSION
    REVISION = REVISION
    RUNTIME  = RUNTIME
    SOURCE   = SOURCE
  }
}

target "both" {
  platforms = ["linux/amd64", "linux/arm64"]
  attest    = ["type=provenance,mode=max", "type=sbom"]
}

target "serve-local" {
  inherits = ["common"]
  target   = "serve"
  tags     = ["${REGISTRY}perwatt-serve:${TAG}"]
}

target "loadtest-local" {
  inherits = ["common"]
  target   = "loadtest"
  tags     = ["${REGISTRY}perwatt-loadtest:${TAG}"]
}

target "serve" {
  inherits = ["serve-local", "both"]
}

target "loadtest" {
  inherits = ["loadtest-local", "both"]
}
