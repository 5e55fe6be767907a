#!/usr/bin/env bash
# install.sh installs what the tests need besides Go: Debian's redis-server and
# prometheus (for promtool), a JDK, Maven, and the jars of the Elasticsearch
# server, which go into the user's cache folder. What is there is left alone, so
# that it may run before every test run. It uses no service that a package starts.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

has() { command -v "$1" >/dev/null 2>&1; }

packages=()
has redis-server || packages+=(redis-server)
has promtool || packages+=(prometheus)
has javac || packages+=(openjdk-17-jdk-headless)
has mvn || packages+=(maven)
if [ ${#packages[@]} -gt 0 ]; then
  echo "installing ${packages[*]}" >&2
  root=()
  if [ "$(id -u)" != 0 ]; then root=(sudo -n); fi
  if ! has apt-get || { [ ${#root[@]} -gt 0 ] && ! "${root[@]}" true; }; then
    echo "install these yourself: ${packages[*]} (Debian's names; no apt-get, or no right to use it)" >&2
    exit 1
  fi
  # A service that a package would start is not needed, and takes a port.
  apt() { DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 "${root[@]}" apt-get -q -y "$@" >&2; }
  apt update
  apt install --no-install-recommends "${packages[@]}"
fi

# The folder is named after what decides its contents, as in elasticsearch.go.
source="$here/elasticsearch"
name=elasticsearch-$(cat "$source/pom.xml" "$source/Launcher.java" "$here/install.sh" | sha256sum | cut -c 1-12)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/docket-test-servers
mkdir -p "$cache"
exec 9>"$cache/install.lock"
flock 9 # test processes of several packages come at once
if [ -d "$cache/$name" ]; then exit 0; fi

echo "installing the Elasticsearch of the tests into $cache/$name" >&2
new=$(mktemp -d "$cache/new-XXXXXX")
trap 'rm -rf "$new"' EXIT
for try in 1 2 3; do # a registry may be slow
  mvn -q -B -f "$source/pom.xml" org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy-dependencies \
    -DincludeScope=runtime -DoutputDirectory="$new/lib" >&2 && break
  [ "$try" -lt 3 ]
done
module="$new/modules/transport-netty4"
mkdir -p "$module" "$new/launcher"
mv "$new"/lib/transport-netty4-*.jar "$new"/lib/netty-*.jar "$new"/lib/elasticsearch-ssl-config-*.jar "$module"
(cd "$new" && jar xf "$module"/transport-netty4-*.jar META-INF/es-plugins/transport-netty4)
# The module layer of a whole Elasticsearch is not there.
grep -v '^modulename=' "$new/META-INF/es-plugins/transport-netty4/plugin-descriptor.properties" >"$module/plugin-descriptor.properties"
mv "$new/META-INF/es-plugins/transport-netty4/entitlement-policy.yaml" "$module"
rm -r "$new/META-INF"
javac -proc:none -cp "$new/lib/*" -d "$new/launcher" "$source/Launcher.java"
mv "$new" "$cache/$name"
