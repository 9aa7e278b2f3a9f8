# Completes asistry in elvish. Written by: asistry completions elvish
use str

set edit:completion:arg-completer[asistry] = {|@words|
    var index = (- (count $words) 1)
    var answer = [(e:asistry __complete elvish $index $@words | from-lines)]
    # The first line says whether files fit, and what of the word stands before them.
    if (eq $answer[0] 'files ') {
        edit:complete-filename $words[-1]
    }
    for line $answer[1..] {
        var text end about = (str:split "\t" $line)
        var shown = $text
        if (not-eq $about '') {
            set shown = $text' ('$about')'
        }
        edit:complex-candidate $text &code-suffix=$end &display=$shown
    }
}
