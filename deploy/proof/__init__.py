"""What is deployed, deployed: `make test-deploy` runs images, chart, compose file, rules and release on one machine.

Root on Debian, from nothing, without a Docker engine, a cluster or a registry that can be reached. Each part is a
script that ends with a line that says what it has shown; exit status 77 and its last line say why a part was not run.

    run.sh          the parts in their order, a line each, and what is never run here
    common.sh       where everything lies, and one index for all parts
    tools.sh        what is installed: by apt-get, and hash-locked from PyPI
    images.sh       the images of this architecture
    helm.sh         the chart by the real helm: lint, template, package; its rules by promtool
    pods.sh         the rendered chart in podman, its index fetched from S3, a rebuild that is followed in the pod
    store.sh        push, pull and fetch by the image, through SeaweedFS
    compose.sh      the compose file by podman-compose
    prometheus.sh   Prometheus on its configuration, every query answered
    workflows.sh    the workflows' plans by act, and the rehearsal of a release as the job that it is
    release.sh      the rehearsal: staged, measured by digest, promoted, signed, compared
    pods.py         Kubernetes' manifests as podman takes them
    queries.py      asks Prometheus what dashboard and rules ask
"""
