# What takes backups on a host by itself.
#
# install-etcdplan ID TOKEN NOTE DIRECTORY PYTHON VERSION SIZE SHA256: the archive is on stdin; it is unpacked and tried beside
# its place before the claim, as `install-program` does it.
# backup-job ID TOKEN NOTE SIZE DIRECTORY USER UNIT [DIRECTORY-TO-WRITE-TO]...: the payload has a path and a text in base64 a line.
# remove-backup-job ID TOKEN NOTE UNIT

job=$root/etc/etcdplan/backup
systemd=$root/etc/systemd/system

discard() {
    rm -rf "$new"
    refuse "$1"
}

# unpacked FILE: what came is what was sent, and runs here; not as root, until that is known.
unpacked() {
    exec 2>&1
    timeout 1200 head -c "$size" >"$1" || return
    if [ "$(digest "$1")" != "$sum" ]; then
        echo 'it came with another checksum: the request was cut, or changed on its way'
        return 1
    fi
    mkdir "$new/it" && chmod 755 "$new" "$new/it" && (umask 022 && "$python" -m tarfile -e "$1" "$new/it") || return
    runs=$(timeout 60 setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs "$new/it/etcdplan" --version) &&
        timeout 60 setpriv --reuid 65534 --regid 65534 --clear-groups --no-new-privs \
            "$new/it/etcdplan" backup run --help >/dev/null || {
        echo 'etcdplan does not run there'
        return 1
    }
    if [ "${runs#* }" != "$version" ]; then
        echo "it is ${runs:-something else}, not etcdplan $version"
        return 1
    fi
    sync -f "$new"
}

# The keys are made once, and are there together or not at all.
keys() {
    if [ -d "$job/keys" ]; then
        return
    fi
    rm -rf "$job/.keys" && mkdir -m 700 "$job/.keys" &&
        "$1/etcdplan" backup keygen "$job/.keys/signing.key" --identity "$job/.keys/identity" >/dev/null &&
        chown -R "$2:" "$job/.keys" && sync "$job/.keys"/* && mv -T "$job/.keys" "$job/keys" && sync "$job"
}

write_job() {
    home=$root/var/lib/$user
    if ! [ -d "$home" ]; then
        mkdir -p "$home" && chown "$user:" "$home" && chmod 700 "$home" || return
    fi
    directory "$job/trusted" && keys "$program" "$user" || return
    printf '%s\n' "$lines" | while read -r path text; do
        put "$root$path" "$text" 644 || exit
    done || return
    for old in "$job/trusted"/*; do
        case "$lines" in *"${old#"$root"} "*) ;; *) rm -f "$old" || return ;; esac
    done
    for place in "$@"; do
        if ! [ -e "$root$place" ]; then
            mkdir -p "$root$place" && chown "$user:" "$root$place" && chmod 700 "$root$place" || return
        fi
    done
    # What its last run failed with has changed.
    ctl reset-failed "$unit.service" 2>/dev/null || :
    ctl daemon-reload && ctl enable "$unit.timer" && ctl restart "$unit.timer" || return
    for old in "$root/opt/etcdplan"/etcdplan-*; do
        if [ "$old" != "$program" ]; then
            rm -rf "$old" || return
        fi
    done
}

remove_job() {
    if [ -e "$systemd/$unit.timer" ]; then
        ctl disable --now "$unit.timer" || return
    fi
    if [ -e "$systemd/$unit.service" ]; then
        ctl stop "$unit.service" || return
    fi
    rm -f "$systemd/$unit.timer" "$systemd/$unit.service" && ctl daemon-reload || return
    # The certificate's key before the spec that names it: while something is there, something is seen.
    rm -rf "$root/etc/etcdplan/pki/backup" "$root/etc/etcdplan/pki/.backup".* "$job/trusted" "$job/spec.yaml" \
        "$root/opt/etcdplan"/etcdplan-*
}

case $verb in
install-etcdplan)
    id=$1 token=$2 text=$3 program=$root$4 python=$5 version=$6 size=$7 sum=$8
    programs=${program%/*}
    go_on
    if ! command -v "$python" >/dev/null; then
        refuse "$python is not there, which etcdplan runs with on a backup host; install it (Debian: apt-get install $python)"
    fi
    try directory "$programs"
    new=$(mktemp -d "$programs/.new.XXXXXXXX" 2>&1) || refuse "$new"
    wrong=$(unpacked "$new/archive") || discard "${wrong:-etcdplan cannot be unpacked}"
    claimed "$id" "$token" "$text"
    for old in "$programs"/.new.*; do
        if [ "$old" != "$new" ]; then
            rm -rf "$old"
        fi
    done
    wrong=$(rm -rf "$program" 2>&1 && mv -T "$new/it" "$program" 2>&1 && sync "$programs" 2>&1) ||
        discard "${wrong:-etcdplan cannot be put in place}"
    rm -rf "$new"
    answer done
    ;;
backup-job)
    receive "$4"
    id=$1 token=$2 text=$3 program=$root$5 user=$6 unit=$7
    shift 7
    lines=$(printf %s "$payload" | base64 -d) || refuse 'the request was cut'
    claimed "$id" "$token" "$text"
    user "$user"
    try write_job "$@"
    answer done
    ;;
remove-backup-job)
    unit=$4
    claimed "$1" "$2" "$3"
    try remove_job
    answer done
    ;;
esac
