# The Debian packages needed to build and to test; sourced by tests/setup and tests/run.
packages_build='gcc libc6-dev meson ninja-build pkg-config fuse3 libfuse3-dev libsodium-dev libdeflate-dev zlib1g-dev
	libcmark-dev liblmdb-dev libcbor-dev libgit2-dev libunistring-dev uthash-dev libuv1-dev libcmocka-dev'
packages_test='clang python3-pytest python3-pytest-xdist python3-pexpect mandoc vim nano ed patch perl rsync git gzip
	emacs-nox neovim micro kakoune joe mc unzip libglib2.0-bin nodejs libqt5core5a
	stress-ng fio dbench fsmark iproute2'

as_root() {
	if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

# Installs those of the packages named that are not there.
install_missing() {
	missing=
	for package in "$@"; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
			missing="$missing $package"
	done
	[ -n "$missing" ] || return 0
	echo "installing:$missing"
	as_root apt-get -qq update
	# shellcheck disable=SC2086
	as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing
}
