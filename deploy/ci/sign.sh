#!/usr/bin/env bash
# Signs what promote.sh published: sign.sh PUBLISHED SIGNATURES
#
# By cosign, keyless: the workflow's own identity, in the public log, and the signature beside the image in the registry.
# Where $PERWATT_SIGNING_KEY names a private key in PEM, a rehearsal: openssl signs cosign's payload with it, into the
# folder SIGNATURES, and nothing is uploaded.
set -euo pipefail
usage="usage: sign.sh PUBLISHED SIGNATURES"
published=${1:?$usage} folder=${2:?$usage}
mkdir -p "$folder"
while read -r role image; do
  if [ -z "${PERWATT_SIGNING_KEY:-}" ]; then
    cosign sign --yes "$image"
    continue
  fi
  payload=$folder/$role.json
  printf '{"critical":{"identity":{"docker-reference":"%s"},"image":{"docker-manifest-digest":"%s"},%s},"optional":null}' \
    "${image%@*}" "${image#*@}" '"type":"cosign container image signature"' > "$payload"
  openssl dgst -sha256 -sign "$PERWATT_SIGNING_KEY" -out "$folder/$role.signature" "$payload"
  openssl pkey -in "$PERWATT_SIGNING_KEY" -pubout -out "$folder/public.pem"
  openssl dgst -sha256 -verify "$folder/public.pem" -signature "$folder/$role.signature" "$payload" >/dev/null
  echo "$role: signed with a throw-away key by openssl, not by cosign: ${image#*@}"
done < "$published"
