# Completes asistry in PowerShell. Written by: asistry completions powershell
Register-ArgumentCompleter -Native -CommandName asistry -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $words = @(
        $commandAst.CommandElements |
            Where-Object { $_.Extent.StartOffset -lt $cursorPosition } |
            ForEach-Object {
                if ($_ -is [System.Management.Automation.Language.StringConstantExpressionAst]) { $_.Value }
                else { $_.Extent.Text }
            }
    )
    $index = if ($wordToComplete) { $words.Count - 1 } else { $words.Count }
    $program = Get-Command asistry -CommandType Application -ErrorAction SilentlyContinue | Select-Object -First 1
    if (-not $program) { return }
    # Where nothing fits, PowerShell offers files by itself.
    & $program __complete powershell $index @words 2>$null | Select-Object -Skip 1 | ForEach-Object {
        $text, $shown, $about = $_ -split "`t", 3
        [System.Management.Automation.CompletionResult]::new($text, $shown, 'ParameterValue', $about)
    }
}
