# POSIX sh, for dash: what every script that runs on a host begins with. Arguments: nonce, verb, the verb's own.
root=
set -u
umask 077
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
nonce=$1 verb=$2
shift 2
state=$root/var/lib/etcdplan
claim=

# Every part of the answer begins with the nonce: what a login shell or sudo prints is not taken for one. What is
# printed behind it, up to the next one, is its content.
say() {
    printf '\n%s %s\n' "$nonce" "$*"
}

# answer RESULT [TEXT-IN-BASE64]: the last line; what was claimed is noted first.
answer() {
    if [ -n "$claim" ]; then
        note "$@"
    fi
    say "$1 ${2-}"
    exit 0
}

encoded() {
    printf %s "$1" | base64 -w 0
}

refuse() {
    answer refused "$(encoded "$1")"
}

# try COMMAND...: go on when it worked, else refuse with what it said. Whether one that was killed has done it is unknown.
try() {
    wrong=$("$@" 2>&1 >/dev/null) || failed $? "${wrong:-$1 failed}"
}

failed() {
    if [ "$1" -gt 128 ]; then
        exit "$1"
    fi
    refuse "$2"
}

# receive SIZE: the content on stdin is base64; a part of it is nothing, for the connection broke.
receive() {
    payload=$(cat)
    if [ "${#payload}" -ne "$1" ]; then
        refuse 'the request was cut'
    fi
}

uptime() {
    read -r up _ </proc/uptime
    up=${up%.*}
}

# go_on: from here on a connection that drops, or a service manager that stops the session, ends nothing half-way.
go_on() {
    trap '' HUP INT TERM PIPE
}

# guard SECONDS [EFFECT]: nobody else changes this host until this script, and all that it started, has ended.
# A call to etcd that was let through, of another effect, may still be on its way until its time is over.
guard() {
    go_on
    try mkdir -p "$state"
    try sh -c ': >>"$1"' sh "$state/guard"
    exec 9>>"$state/guard"
    uptime
    until=$((up + $1))
    read -r boot </proc/sys/kernel/random/boot_id
    while :; do
        flock -w "$((until > up ? until - up : 0))" 9 || answer busy
        call= call_boot= call_until=0
        if [ -e "$state/calling" ]; then
            read -r call call_boot call_until <"$state/calling" || :
        fi
        uptime
        if [ "$call_boot" != "$boot" ] || [ "$call" = "${2-}" ] || [ "$up" -ge "${call_until:-0}" ]; then
            return
        fi
        flock -u 9
        if [ "$up" -ge "$until" ]; then
            answer busy
        fi
        sleep 0.1
        uptime
    done
}

# put FILE BASE64 MODE [OWNER]: all of it or nothing, whenever the power goes.
put() {
    new=$(mktemp "${1%/*}/.${1##*/}.XXXXXXXX") || return
    if printf %s "$2" | base64 -d >"$new" && chmod "$3" "$new" && { [ -z "${4-}" ] || chown "$4" "$new"; } &&
        sync "$new" && mv -fT "$new" "$1"; then
        sync "${1%/*}"
        return
    fi
    rm -f "$new"
    return 1
}

# digest FILE: of its content; `-` for none.
digest() {
    if [ -e "$1" ] || [ -L "$1" ]; then
        sum=$(sha256sum <"$1") && printf '%s\n' "${sum%% *}"
    else
        echo -
    fi
}

# directory PATH: one that everybody may enter, with those above it.
directory() {
    if ! [ -d "$1" ]; then
        (umask 022 && mkdir -p "$1") && sync "${1%/*}"
    fi
}
