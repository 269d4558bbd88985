# The file systems of etcd's data and log held still. The verbs' arguments begin with the effect's ID, the token and the
# note.
#
# freeze ... SECONDS KEEPER DATA LOG: KEEPER, in base64, is the service that freezes them and thaws them by itself; LOG is
# empty where the log is among the data.

here=$root/run/etcdplan-freeze
keeper=etcdplan-freeze.service

# mount_of PATH: sets number, which is that of the file system, and mount_point.
mount_of() {
    found=$(findmnt -n -r -o MAJ:MIN,TARGET -T "$root$1" 2>&1) || refuse "which file system $1 is on is not known: $found"
    number=${found%% *} mount_point=${found#* }
}

# own_file_system DIRECTORY: what thaws it must not wait for it, nor what else the host needs.
own_file_system() {
    mount_of "$1"
    held=$number holds=$mount_point
    case $holds in *[!A-Za-z0-9/._@%+:-]*) refuse "the mount point $holds has characters that are not taken" ;; esac
    for needed in / /etc /usr /run /tmp /var /var/log /var/lib /var/lib/etcdplan; do
        if [ -e "$root$needed" ]; then
            mount_of "$needed"
            if [ "$number" = "$held" ]; then
                refuse "$1 is on the file system of $needed, which cannot be frozen: it needs one of its own"
            fi
        fi
    done
}

stands() {
    stand=$(cat "$here/state" 2>/dev/null)
}

has_begun() {
    stands
    [ -n "$stand" ]
}

has_ended() {
    stands
    [ "$stand" != frozen ]
}

case $verb in
freeze)
    seconds=$4 program=$5 data=$6 log=$7
    claimed "$1" "$2" "$3"
    is_gone "$keeper" || refuse 'file systems are frozen there by another run; in a minute at most they are not'
    own_file_system "$data"
    numbers=$held
    set -- "$holds"
    if [ -n "$log" ]; then
        own_file_system "$log"
        if [ "$held" != "$numbers" ]; then
            # The data first: a log may know more than the data, not less.
            set -- "$@" "$holds"
        fi
    fi
    try rm -rf "$here"
    try mkdir "$here"
    try put "$here/keep.sh" "$program" 600
    uptime
    try timeout -s KILL 30 systemd-run --quiet --collect --unit="$keeper" --property=TimeoutStopSec=1 \
        --property="RuntimeMaxSec=$((seconds + 5))" --property="ExecStopPost=/bin/sh $here/keep.sh after $here" \
        /bin/sh "$here/keep.sh" keep "$here" $((up + seconds)) "$@"
    patiently $((seconds + 5)) has_begun || refuse "$* did not freeze in time; it is thawed as soon as it does"
    case $stand in
    frozen) answer "done" "$(encoded "$*")" ;;
    over) refuse "$* took more than $seconds s to freeze, and was thawed" ;;
    *) refuse "${stand#* }" ;;
    esac
    ;;
thaw)
    claimed "$1" "$2" "$3"
    has_begun || refuse 'nothing is frozen'
    try touch "$here/thaw"
    patiently 20 has_ended || refuse 'it does not thaw'
    case $stand in
    kept) answer "done" ;;
    over) refuse 'its time was over, and it was thawed before' ;;
    gone) refuse 'it was thawed before, by somebody else or because its keeper was ended' ;;
    *) refuse "A FILE SYSTEM IS STILL FROZEN: ${stand#* }" ;;
    esac
    ;;
esac
