# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_nuke_images_global_optspecs
    string join \n n/dry-run y/yes splay= no-images registry= include= all exclude= min-age= unused-for= keep-newest= keep-unpullable= high-threshold= low-threshold= free-bytes= max-images= max-duration= delay= max-io-pressure= drop-caches= reclaim= runtime-endpoint= runtime= namespace= config= if-runtime o/output= color= v/verbose q/quiet h/help V/version
end

function __fish_nuke_images_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_nuke_images_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_nuke_images_using_subcommand
    set -l cmd (__fish_nuke_images_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c nuke-images -n "__fish_nuke_images_needs_command" -l splay -d 'For the unit: where a timer started the run, wait for this node\'s part of so long, and until the machine has been up for long enough' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l registry -d 'Images of this registry may go: exact host, with its port if it has one. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l include -d 'Images whose references match may go: unanchored, as in grep -E. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l exclude -d 'Never an image one of whose references matches. Repeatable; adds to the configured ones' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l min-age -d 'Keep what was pulled or named anew less long ago than this [default: 1h]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l unused-for -d 'Keep what was not seen unused for this long, remembered across runs and reboots [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l keep-newest -d 'Keep the N most recently pulled images of each repository [default: 0]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l keep-unpullable -d 'Keep what can\'t be pulled again [default: true]' -r -f -a "true\t''
false\t''"
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l high-threshold -d 'Act only when the image file system is fuller than this, in bytes or inodes [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l low-threshold -d 'Stop as soon as it is no fuller than this [default: the high threshold]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l free-bytes -d 'Act only when less is free, and stop as soon as it is [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l max-images -d 'At most so many images in a run [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l max-duration -d 'Begin no batch after this long [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l delay -d 'Rest between batches [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l max-io-pressure -d 'Wait while more than this share of the time something waits for disks (/proc/pressure/io) [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l drop-caches -d 'Tell the kernel to drop caches after the images: pagecache, slab or all [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l reclaim -d 'Ask the pods\' cgroup to give back so much memory [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l runtime-endpoint -d 'The runtime\'s socket, <unix:///run/containerd/containerd.sock> [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l runtime -d 'What the runtime is, where its socket doesn\'t tell: containerd, cri-o or docker [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l namespace -d 'containerd\'s namespace [default: k8s.io]' -r
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l config -d 'Read this file instead of /etc/nuke-images/config.toml and config.d/*.toml' -r -F
complete -c nuke-images -n "__fish_nuke_images_needs_command" -s o -l output -d 'How to print' -r -f -a "text\t'A table'
json\t'One object'"
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l color -d 'Colours; `NO_COLOR` is honoured' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c nuke-images -n "__fish_nuke_images_needs_command" -s n -l dry-run -d 'Print the plan, change nothing, write no state'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -s y -l yes -d 'Don\'t ask; needed where there is no terminal'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l no-images -d 'Remove no image; only the memory step'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l all -d 'Everything unused may go'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -l if-runtime -d 'For the units: a node without a runtime is no error'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -s v -l verbose -d 'Log more: every verdict and every program started'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -s q -l quiet -d 'Log errors only, and print no table'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -s V -l version -d 'Print version'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -f -a "inventory" -d 'What is on the node: images, who uses them, sizes, ages'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -f -a "plan" -d 'The verdicts, from this node or from a saved inventory'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -f -a "observe" -d 'Record what is in use now, remove nothing'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -f -a "history" -d 'The last runs: when, why started, what they removed and what it can be pulled again by'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -f -a "doctor" -d 'Is this node able to do it, and what to mend; exit code 1 where something is'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -f -a "config" -d 'The effective configuration and where each value came from; checks it'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -f -a "install" -d 'Put this program, its units and a configuration onto this node, or one whose file system is mounted'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -f -a "uninstall" -d 'Take off what install put there'
complete -c nuke-images -n "__fish_nuke_images_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l registry -d 'Images of this registry may go: exact host, with its port if it has one. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l include -d 'Images whose references match may go: unanchored, as in grep -E. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l exclude -d 'Never an image one of whose references matches. Repeatable; adds to the configured ones' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l min-age -d 'Keep what was pulled or named anew less long ago than this [default: 1h]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l unused-for -d 'Keep what was not seen unused for this long, remembered across runs and reboots [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l keep-newest -d 'Keep the N most recently pulled images of each repository [default: 0]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l keep-unpullable -d 'Keep what can\'t be pulled again [default: true]' -r -f -a "true\t''
false\t''"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l high-threshold -d 'Act only when the image file system is fuller than this, in bytes or inodes [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l low-threshold -d 'Stop as soon as it is no fuller than this [default: the high threshold]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l free-bytes -d 'Act only when less is free, and stop as soon as it is [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l max-images -d 'At most so many images in a run [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l max-duration -d 'Begin no batch after this long [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l delay -d 'Rest between batches [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l max-io-pressure -d 'Wait while more than this share of the time something waits for disks (/proc/pressure/io) [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l drop-caches -d 'Tell the kernel to drop caches after the images: pagecache, slab or all [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l reclaim -d 'Ask the pods\' cgroup to give back so much memory [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l runtime-endpoint -d 'The runtime\'s socket, <unix:///run/containerd/containerd.sock> [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l runtime -d 'What the runtime is, where its socket doesn\'t tell: containerd, cri-o or docker [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l namespace -d 'containerd\'s namespace [default: k8s.io]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l config -d 'Read this file instead of /etc/nuke-images/config.toml and config.d/*.toml' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -s o -l output -d 'How to print' -r -f -a "text\t'A table'
json\t'One object'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l color -d 'Colours; `NO_COLOR` is honoured' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l all -d 'Everything unused may go'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -l if-runtime -d 'For the units: a node without a runtime is no error'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -s v -l verbose -d 'Log more: every verdict and every program started'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -s q -l quiet -d 'Log errors only, and print no table'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand inventory" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l inventory -d 'A file that `nuke-images inventory --output json` wrote; needs no root' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l registry -d 'Images of this registry may go: exact host, with its port if it has one. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l include -d 'Images whose references match may go: unanchored, as in grep -E. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l exclude -d 'Never an image one of whose references matches. Repeatable; adds to the configured ones' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l min-age -d 'Keep what was pulled or named anew less long ago than this [default: 1h]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l unused-for -d 'Keep what was not seen unused for this long, remembered across runs and reboots [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l keep-newest -d 'Keep the N most recently pulled images of each repository [default: 0]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l keep-unpullable -d 'Keep what can\'t be pulled again [default: true]' -r -f -a "true\t''
false\t''"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l high-threshold -d 'Act only when the image file system is fuller than this, in bytes or inodes [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l low-threshold -d 'Stop as soon as it is no fuller than this [default: the high threshold]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l free-bytes -d 'Act only when less is free, and stop as soon as it is [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l max-images -d 'At most so many images in a run [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l max-duration -d 'Begin no batch after this long [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l delay -d 'Rest between batches [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l max-io-pressure -d 'Wait while more than this share of the time something waits for disks (/proc/pressure/io) [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l drop-caches -d 'Tell the kernel to drop caches after the images: pagecache, slab or all [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l reclaim -d 'Ask the pods\' cgroup to give back so much memory [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l runtime-endpoint -d 'The runtime\'s socket, <unix:///run/containerd/containerd.sock> [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l runtime -d 'What the runtime is, where its socket doesn\'t tell: containerd, cri-o or docker [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l namespace -d 'containerd\'s namespace [default: k8s.io]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l config -d 'Read this file instead of /etc/nuke-images/config.toml and config.d/*.toml' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -s o -l output -d 'How to print' -r -f -a "text\t'A table'
json\t'One object'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l color -d 'Colours; `NO_COLOR` is honoured' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l all -d 'Everything unused may go'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -l if-runtime -d 'For the units: a node without a runtime is no error'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -s v -l verbose -d 'Log more: every verdict and every program started'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -s q -l quiet -d 'Log errors only, and print no table'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand plan" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l registry -d 'Images of this registry may go: exact host, with its port if it has one. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l include -d 'Images whose references match may go: unanchored, as in grep -E. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l exclude -d 'Never an image one of whose references matches. Repeatable; adds to the configured ones' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l min-age -d 'Keep what was pulled or named anew less long ago than this [default: 1h]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l unused-for -d 'Keep what was not seen unused for this long, remembered across runs and reboots [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l keep-newest -d 'Keep the N most recently pulled images of each repository [default: 0]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l keep-unpullable -d 'Keep what can\'t be pulled again [default: true]' -r -f -a "true\t''
false\t''"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l high-threshold -d 'Act only when the image file system is fuller than this, in bytes or inodes [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l low-threshold -d 'Stop as soon as it is no fuller than this [default: the high threshold]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l free-bytes -d 'Act only when less is free, and stop as soon as it is [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l max-images -d 'At most so many images in a run [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l max-duration -d 'Begin no batch after this long [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l delay -d 'Rest between batches [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l max-io-pressure -d 'Wait while more than this share of the time something waits for disks (/proc/pressure/io) [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l drop-caches -d 'Tell the kernel to drop caches after the images: pagecache, slab or all [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l reclaim -d 'Ask the pods\' cgroup to give back so much memory [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l runtime-endpoint -d 'The runtime\'s socket, <unix:///run/containerd/containerd.sock> [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l runtime -d 'What the runtime is, where its socket doesn\'t tell: containerd, cri-o or docker [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l namespace -d 'containerd\'s namespace [default: k8s.io]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l config -d 'Read this file instead of /etc/nuke-images/config.toml and config.d/*.toml' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -s o -l output -d 'How to print' -r -f -a "text\t'A table'
json\t'One object'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l color -d 'Colours; `NO_COLOR` is honoured' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l all -d 'Everything unused may go'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -l if-runtime -d 'For the units: a node without a runtime is no error'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -s v -l verbose -d 'Log more: every verdict and every program started'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -s q -l quiet -d 'Log errors only, and print no table'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand observe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l registry -d 'Images of this registry may go: exact host, with its port if it has one. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l include -d 'Images whose references match may go: unanchored, as in grep -E. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l exclude -d 'Never an image one of whose references matches. Repeatable; adds to the configured ones' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l min-age -d 'Keep what was pulled or named anew less long ago than this [default: 1h]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l unused-for -d 'Keep what was not seen unused for this long, remembered across runs and reboots [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l keep-newest -d 'Keep the N most recently pulled images of each repository [default: 0]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l keep-unpullable -d 'Keep what can\'t be pulled again [default: true]' -r -f -a "true\t''
false\t''"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l high-threshold -d 'Act only when the image file system is fuller than this, in bytes or inodes [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l low-threshold -d 'Stop as soon as it is no fuller than this [default: the high threshold]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l free-bytes -d 'Act only when less is free, and stop as soon as it is [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l max-images -d 'At most so many images in a run [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l max-duration -d 'Begin no batch after this long [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l delay -d 'Rest between batches [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l max-io-pressure -d 'Wait while more than this share of the time something waits for disks (/proc/pressure/io) [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l drop-caches -d 'Tell the kernel to drop caches after the images: pagecache, slab or all [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l reclaim -d 'Ask the pods\' cgroup to give back so much memory [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l runtime-endpoint -d 'The runtime\'s socket, <unix:///run/containerd/containerd.sock> [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l runtime -d 'What the runtime is, where its socket doesn\'t tell: containerd, cri-o or docker [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l namespace -d 'containerd\'s namespace [default: k8s.io]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l config -d 'Read this file instead of /etc/nuke-images/config.toml and config.d/*.toml' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -s o -l output -d 'How to print' -r -f -a "text\t'A table'
json\t'One object'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l color -d 'Colours; `NO_COLOR` is honoured' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l all -d 'Everything unused may go'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -l if-runtime -d 'For the units: a node without a runtime is no error'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -s v -l verbose -d 'Log more: every verdict and every program started'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -s q -l quiet -d 'Log errors only, and print no table'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand history" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l registry -d 'Images of this registry may go: exact host, with its port if it has one. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l include -d 'Images whose references match may go: unanchored, as in grep -E. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l exclude -d 'Never an image one of whose references matches. Repeatable; adds to the configured ones' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l min-age -d 'Keep what was pulled or named anew less long ago than this [default: 1h]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l unused-for -d 'Keep what was not seen unused for this long, remembered across runs and reboots [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l keep-newest -d 'Keep the N most recently pulled images of each repository [default: 0]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l keep-unpullable -d 'Keep what can\'t be pulled again [default: true]' -r -f -a "true\t''
false\t''"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l high-threshold -d 'Act only when the image file system is fuller than this, in bytes or inodes [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l low-threshold -d 'Stop as soon as it is no fuller than this [default: the high threshold]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l free-bytes -d 'Act only when less is free, and stop as soon as it is [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l max-images -d 'At most so many images in a run [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l max-duration -d 'Begin no batch after this long [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l delay -d 'Rest between batches [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l max-io-pressure -d 'Wait while more than this share of the time something waits for disks (/proc/pressure/io) [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l drop-caches -d 'Tell the kernel to drop caches after the images: pagecache, slab or all [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l reclaim -d 'Ask the pods\' cgroup to give back so much memory [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l runtime-endpoint -d 'The runtime\'s socket, <unix:///run/containerd/containerd.sock> [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l runtime -d 'What the runtime is, where its socket doesn\'t tell: containerd, cri-o or docker [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l namespace -d 'containerd\'s namespace [default: k8s.io]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l config -d 'Read this file instead of /etc/nuke-images/config.toml and config.d/*.toml' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -s o -l output -d 'How to print' -r -f -a "text\t'A table'
json\t'One object'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l color -d 'Colours; `NO_COLOR` is honoured' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l all -d 'Everything unused may go'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -l if-runtime -d 'For the units: a node without a runtime is no error'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -s v -l verbose -d 'Log more: every verdict and every program started'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -s q -l quiet -d 'Log errors only, and print no table'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand doctor" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l registry -d 'Images of this registry may go: exact host, with its port if it has one. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l include -d 'Images whose references match may go: unanchored, as in grep -E. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l exclude -d 'Never an image one of whose references matches. Repeatable; adds to the configured ones' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l min-age -d 'Keep what was pulled or named anew less long ago than this [default: 1h]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l unused-for -d 'Keep what was not seen unused for this long, remembered across runs and reboots [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l keep-newest -d 'Keep the N most recently pulled images of each repository [default: 0]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l keep-unpullable -d 'Keep what can\'t be pulled again [default: true]' -r -f -a "true\t''
false\t''"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l high-threshold -d 'Act only when the image file system is fuller than this, in bytes or inodes [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l low-threshold -d 'Stop as soon as it is no fuller than this [default: the high threshold]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l free-bytes -d 'Act only when less is free, and stop as soon as it is [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l max-images -d 'At most so many images in a run [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l max-duration -d 'Begin no batch after this long [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l delay -d 'Rest between batches [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l max-io-pressure -d 'Wait while more than this share of the time something waits for disks (/proc/pressure/io) [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l drop-caches -d 'Tell the kernel to drop caches after the images: pagecache, slab or all [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l reclaim -d 'Ask the pods\' cgroup to give back so much memory [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l runtime-endpoint -d 'The runtime\'s socket, <unix:///run/containerd/containerd.sock> [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l runtime -d 'What the runtime is, where its socket doesn\'t tell: containerd, cri-o or docker [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l namespace -d 'containerd\'s namespace [default: k8s.io]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l config -d 'Read this file instead of /etc/nuke-images/config.toml and config.d/*.toml' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -s o -l output -d 'How to print' -r -f -a "text\t'A table'
json\t'One object'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l color -d 'Colours; `NO_COLOR` is honoured' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l all -d 'Everything unused may go'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -l if-runtime -d 'For the units: a node without a runtime is no error'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -s v -l verbose -d 'Log more: every verdict and every program started'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -s q -l quiet -d 'Log errors only, and print no table'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand config" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l root -d 'The node\'s root folder: another system, or the host as a container with its process namespace sees it' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l schedule -d 'When to clean up, as systemd.time(7) has it [default: Sun *-*-* 12:12:00]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l config-dir -d 'Put the *.toml files of this folder into /etc/nuke-images/config.d, in place of those that it put there before' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l registry -d 'Images of this registry may go: exact host, with its port if it has one. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l include -d 'Images whose references match may go: unanchored, as in grep -E. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l exclude -d 'Never an image one of whose references matches. Repeatable; adds to the configured ones' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l min-age -d 'Keep what was pulled or named anew less long ago than this [default: 1h]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l unused-for -d 'Keep what was not seen unused for this long, remembered across runs and reboots [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l keep-newest -d 'Keep the N most recently pulled images of each repository [default: 0]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l keep-unpullable -d 'Keep what can\'t be pulled again [default: true]' -r -f -a "true\t''
false\t''"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l high-threshold -d 'Act only when the image file system is fuller than this, in bytes or inodes [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l low-threshold -d 'Stop as soon as it is no fuller than this [default: the high threshold]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l free-bytes -d 'Act only when less is free, and stop as soon as it is [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l max-images -d 'At most so many images in a run [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l max-duration -d 'Begin no batch after this long [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l delay -d 'Rest between batches [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l max-io-pressure -d 'Wait while more than this share of the time something waits for disks (/proc/pressure/io) [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l drop-caches -d 'Tell the kernel to drop caches after the images: pagecache, slab or all [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l reclaim -d 'Ask the pods\' cgroup to give back so much memory [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l runtime-endpoint -d 'The runtime\'s socket, <unix:///run/containerd/containerd.sock> [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l runtime -d 'What the runtime is, where its socket doesn\'t tell: containerd, cri-o or docker [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l namespace -d 'containerd\'s namespace [default: k8s.io]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l config -d 'Read this file instead of /etc/nuke-images/config.toml and config.d/*.toml' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -s o -l output -d 'How to print' -r -f -a "text\t'A table'
json\t'One object'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l color -d 'Colours; `NO_COLOR` is honoured' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l no-enable -d 'Put everything in place, but don\'t let the timers run'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -s n -l dry-run -d 'Print what would be done, change nothing'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l all -d 'Everything unused may go'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -l if-runtime -d 'For the units: a node without a runtime is no error'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -s v -l verbose -d 'Log more: every verdict and every program started'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -s q -l quiet -d 'Log errors only, and print no table'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand install" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l root -d 'As for install' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l registry -d 'Images of this registry may go: exact host, with its port if it has one. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l include -d 'Images whose references match may go: unanchored, as in grep -E. Repeatable' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l exclude -d 'Never an image one of whose references matches. Repeatable; adds to the configured ones' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l min-age -d 'Keep what was pulled or named anew less long ago than this [default: 1h]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l unused-for -d 'Keep what was not seen unused for this long, remembered across runs and reboots [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l keep-newest -d 'Keep the N most recently pulled images of each repository [default: 0]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l keep-unpullable -d 'Keep what can\'t be pulled again [default: true]' -r -f -a "true\t''
false\t''"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l high-threshold -d 'Act only when the image file system is fuller than this, in bytes or inodes [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l low-threshold -d 'Stop as soon as it is no fuller than this [default: the high threshold]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l free-bytes -d 'Act only when less is free, and stop as soon as it is [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l max-images -d 'At most so many images in a run [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l max-duration -d 'Begin no batch after this long [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l delay -d 'Rest between batches [default: 0s]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l max-io-pressure -d 'Wait while more than this share of the time something waits for disks (/proc/pressure/io) [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l drop-caches -d 'Tell the kernel to drop caches after the images: pagecache, slab or all [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l reclaim -d 'Ask the pods\' cgroup to give back so much memory [default: off]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l runtime-endpoint -d 'The runtime\'s socket, <unix:///run/containerd/containerd.sock> [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l runtime -d 'What the runtime is, where its socket doesn\'t tell: containerd, cri-o or docker [default: detected]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l namespace -d 'containerd\'s namespace [default: k8s.io]' -r
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l config -d 'Read this file instead of /etc/nuke-images/config.toml and config.d/*.toml' -r -F
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -s o -l output -d 'How to print' -r -f -a "text\t'A table'
json\t'One object'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l color -d 'Colours; `NO_COLOR` is honoured' -r -f -a "auto\t'On a terminal'
always\t'Always'
never\t'Never'"
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l purge -d 'Configuration and state too'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -s n -l dry-run -d 'Print what would be done, change nothing'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l all -d 'Everything unused may go'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -l if-runtime -d 'For the units: a node without a runtime is no error'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -s v -l verbose -d 'Log more: every verdict and every program started'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -s q -l quiet -d 'Log errors only, and print no table'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand uninstall" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand help; and not __fish_seen_subcommand_from inventory plan observe history doctor config install uninstall help" -f -a "inventory" -d 'What is on the node: images, who uses them, sizes, ages'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand help; and not __fish_seen_subcommand_from inventory plan observe history doctor config install uninstall help" -f -a "plan" -d 'The verdicts, from this node or from a saved inventory'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand help; and not __fish_seen_subcommand_from inventory plan observe history doctor config install uninstall help" -f -a "observe" -d 'Record what is in use now, remove nothing'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand help; and not __fish_seen_subcommand_from inventory plan observe history doctor config install uninstall help" -f -a "history" -d 'The last runs: when, why started, what they removed and what it can be pulled again by'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand help; and not __fish_seen_subcommand_from inventory plan observe history doctor config install uninstall help" -f -a "doctor" -d 'Is this node able to do it, and what to mend; exit code 1 where something is'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand help; and not __fish_seen_subcommand_from inventory plan observe history doctor config install uninstall help" -f -a "config" -d 'The effective configuration and where each value came from; checks it'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand help; and not __fish_seen_subcommand_from inventory plan observe history doctor config install uninstall help" -f -a "install" -d 'Put this program, its units and a configuration onto this node, or one whose file system is mounted'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand help; and not __fish_seen_subcommand_from inventory plan observe history doctor config install uninstall help" -f -a "uninstall" -d 'Take off what install put there'
complete -c nuke-images -n "__fish_nuke_images_using_subcommand help; and not __fish_seen_subcommand_from inventory plan observe history doctor config install uninstall help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
