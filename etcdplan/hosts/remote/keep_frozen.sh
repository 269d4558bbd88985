# POSIX sh, for dash: keeps file systems frozen. It is a service of the host, so that it needs nobody to thaw them.
#
#   keep_frozen.sh keep DIRECTORY UPTIME MOUNT-POINT...   until DIRECTORY/thaw is there, or the host is up for so long
#   keep_frozen.sh after DIRECTORY                        thaw what is still frozen, whatever has ended the other one
#
# DIRECTORY/state says how it stands: frozen; kept, until it was to thaw; over, the time; gone, others or its own death
# came before that; refused WHY; failed WHY, the worst: something is frozen still. DIRECTORY is not on what is frozen.
set -u
umask 077
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
verb=$1 here=$2
shift 2

say() {
    printf '%s\n' "$1" >"$here/state.new" && mv -f "$here/state.new" "$here/state"
}

# thaw STATE: how it stands if all were frozen until now.
thaw() {
    stands=$1 left=
    # shellcheck disable=SC2013 # words
    for mount in $(cat "$here/frozen" 2>/dev/null); do
        if ! wrong=$(fsfreeze --unfreeze "$mount" 2>&1); then
            case "$stands $wrong" in
            failed*'Invalid argument'*) ;;
            *'Invalid argument'*) stands=gone ;; # it was not frozen any more
            *) stands="failed $wrong" left="$left $mount" ;;
            esac
        fi
    done
    printf '%s\n' "$left" >"$here/frozen"
    say "$stands"
}

is_over() {
    read -r up _ </proc/uptime
    [ "${up%.*}" -ge "$until" ]
}

case $verb in
keep)
    until=$1 frozen=
    shift
    for mount in "$@"; do
        # Noted first, the last one first: `after` must find what this has frozen.
        printf '%s\n' "$mount $frozen" >"$here/frozen"
        if ! wrong=$(fsfreeze --freeze "$mount" 2>&1); then
            # If it is frozen, then by somebody else.
            printf '%s\n' "$frozen" >"$here/frozen"
            thaw "refused $wrong"
            exit 1
        fi
        frozen="$mount $frozen"
    done
    if ! is_over; then
        say frozen
    fi
    until [ -e "$here/thaw" ] || is_over; do
        sleep 0.05
    done
    if is_over; then
        thaw over
    else
        thaw kept
    fi
    ;;
after)
    if [ -n "$(tr -d ' \n' <"$here/frozen" 2>/dev/null)" ]; then
        thaw gone
    fi
    ;;
esac
