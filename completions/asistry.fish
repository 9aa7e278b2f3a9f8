# Completes asistry in fish. Written by: asistry completions fish
function __asistry_complete
    set -l words (commandline -opc)
    set -l typed (commandline -ct)
    set -l answer (command asistry __complete fish (count $words) $words $typed 2>/dev/null)
    # The first line says whether files fit, and what of the word stands before them.
    if string match -q 'files *' -- $answer[1]
        set -l stays (string replace 'files ' '' -- $answer[1])
        for path in (__fish_complete_path (string sub -s (math (string length -- $stays) + 1) -- $typed))
            printf '%s%s\n' $stays $path
        end
    end
    if set -q answer[2]
        printf '%s\n' $answer[2..-1]
    end
end
complete -c asistry -f -k -a '(__asistry_complete)'
