import Testing

@testable import Settings

/// Files that are no YAML, or YAML that is not read: position and advice.
@Suite struct BrokenYAMLTests {
  @Test(arguments: [
    BrokenFile(
      "a tab indents",
      "app:\n\tcwd: /srv\n",
      [
        "2:1: error: a tab is used for indentation; use spaces: YAML allows no tabs there"
      ]),
    BrokenFile(
      "a tab after a value",
      "timeout: 5s\n\tmax_wait: 1m\n",
      [
        "2:1: error: a tab is used for indentation; use spaces: YAML allows no tabs there"
      ]),
    BrokenFile(
      "no space after the colon, first line",
      "timeout:5s\nrun_id: x\n",
      [
        "1:1: error: there is no space after the ':'; write \"timeout: 5s\""
      ]),
    BrokenFile(
      "no space after the colon, last line",
      "run_id: x\ntimeout:5s\n",
      [
        "2:1: error: there is no space after the ':'; write \"timeout: 5s\""
      ]),
    BrokenFile(
      "no colon",
      "run_id: x\ntimeout 5s\nmax_wait: 1m\n",
      [
        "2:1: error: \"timeout 5s\" is neither a key with a value nor part of one; write 'key: value', or indent the line if it continues the one above"
      ]),
    BrokenFile(
      "only words",
      "hello world\n",
      [
        "1:1: error: the file is a single value instead of a map of settings; write 'key: value' lines"
      ]),
    BrokenFile(
      "a list at the top",
      "- run_id: x\n",
      [
        "1:1: error: the file is a list instead of a map of settings; write 'key: value' lines"
      ]),
    BrokenFile(
      "indented too far",
      "run_id: x\n  timeout: 5s\n",
      [
        "2:3: error: this key is indented more than the keys above it, which already have values; align it with them"
      ]),
    BrokenFile(
      "indented too little",
      "app:\n  cwd: /srv\n restart: never\n",
      [
        "3:2: error: the indentation fits none of the lines above; align this key with the keys it belongs to"
      ]),
    BrokenFile(
      "top level not aligned",
      "  run_id: x\ntimeout: 5s\n",
      [
        "2:1: error: this does not belong to what is above it; give all top-level keys the same indentation; the first one is indented"
      ]),
    BrokenFile(
      "colon and space in a value",
      "run_id: release: 7\n",
      [
        "1:16: error: a value cannot contain ': ' without quotes; put the whole value in quotes, or start a new line"
      ]),
    BrokenFile(
      "list item in the key's line",
      "app:\n  success_codes: - 0\n",
      [
        "2:18: error: a list item ('- ') cannot stand in the same line as its key; start a new line for it, indented, or write the list as [a, b]"
      ]),
    BrokenFile(
      "list item among keys",
      "infrastructure:\n  steps:\n    - name: a\n      run: [x]\n  - name: b\n",
      [
        "5:3: error: a list item stands among the keys of a map; indent the list under its key"
      ]),
    BrokenFile(
      "key among list items",
      "infrastructure:\n  steps:\n    - name: a\n     run: [x]\n",
      [
        "4:6: error: this line is not an item of the list that starts in line 3; start it with '- ' under the other items, or align it with the keys of its own item"
      ]),
    BrokenFile(
      "open bracket",
      "app:\n  command: [gunicorn, mysite\n  cwd: /srv\n",
      [
        "3:6: error: the '[' opened in line 2, column 12 is not closed before this, or a ',' is missing; close it with ']', or put a ',' between the items"
      ]),
    BrokenFile(
      "open brace",
      "health: {listen: 127.0.0.1:80\nrun_id: x\n",
      [
        "2:7: error: the '{' opened in line 1, column 9 is not closed before this, or a ',' is missing; close it with '}', or put a ',' between the items"
      ]),
    BrokenFile(
      "bracket too many",
      "app: {cwd: /srv}}\n",
      [
        "1:17: error: something follows a value that was already complete; if a quote or bracket belongs to the value, put the whole value in quotes ('' inside single quotes is one ')"
      ]),
    BrokenFile(
      "bare variable in a list",
      "app:\n  command: [gunicorn, ${WORKERS}]\n",
      [
        "2:24: error: inside [ ] the braces of ${WORKERS} need quotes; write \"${WORKERS}\" with the quotes"
      ]),
    BrokenFile(
      "bare variable in a map",
      "app: {cwd: ${HOME}}\n",
      [
        "1:13: error: inside { } the braces of ${HOME} need quotes; write \"${HOME}\" with the quotes"
      ]),
    BrokenFile(
      "open quote",
      "run_id: \"abc\ntimeout: 5s\n",
      [
        "1:9: error: a quote is opened here and never closed; add the closing quote at the end of the value"
      ]),
    BrokenFile(
      "quote in a quote",
      "run_id: 'it's'\n",
      [
        "1:13: error: something follows a value that was already complete; if a quote or bracket belongs to the value, put the whole value in quotes ('' inside single quotes is one ')"
      ]),
    BrokenFile(
      "something behind a quoted value",
      "run_id: \"a\" b\n",
      [
        "1:13: error: something follows a value that was already complete; if a quote or bracket belongs to the value, put the whole value in quotes ('' inside single quotes is one ')"
      ]),
    BrokenFile(
      "unknown escape",
      "run_id: \"\\d\"\n",
      [
        "1:10: error: this is not an escape that double quotes know; write '\\\\' for a backslash, or use single quotes"
      ]),
    BrokenFile(
      "short escape",
      "run_id: \"\\xZ\"\n",
      [
        "1:12: error: this \\x, \\u or \\U escape is incomplete or not a character; write '\\\\' for a backslash, or use single quotes"
      ]),
    BrokenFile(
      "at sign",
      "run_id: @x\n",
      [
        "1:9: error: a value cannot start with '@'; put the value in quotes"
      ]),
    BrokenFile(
      "percent",
      "run_id: %x\n",
      [
        "1:9: error: a value cannot start with '%'; put the value in quotes"
      ]),
    BrokenFile(
      "glob as alias",
      "include: *.yml\n",
      [
        "1:10: error: '*' starts the use of an anchor, and no name follows; put the value in quotes, as in \"*.yml\""
      ]),
    BrokenFile(
      "unknown alias",
      "a: &name x\nrun_id: *nmae\n",
      [
        "2:9: error: *nmae refers to an anchor that is not defined above it; did you mean *name?"
      ]),
    BrokenFile(
      "alias of nothing",
      "run_id: *x\n",
      [
        "1:9: error: *x refers to an anchor that is not defined above it; define it with &x, or put the text in quotes if '*' belongs to it"
      ]),
    BrokenFile(
      "alias in its own anchor",
      "app: &a {environment: *a}\n",
      [
        "1:23: error: *a stands inside its own anchor; a value cannot contain itself"
      ]),
    BrokenFile(
      "tag",
      "run_id: !!str 010\n",
      [
        "1:9: error: the tag !!str is not supported; remove it: the type of a value comes from its key"
      ]),
    BrokenFile(
      "unknown tag",
      "run_id: !secret x\n",
      [
        "1:9: error: the tag !secret is not supported; remove it: the type of a value comes from its key"
      ]),
    BrokenFile(
      "merge key",
      "app:\n  <<: {cwd: /srv}\n",
      [
        "2:3: error: the merge key '<<' is not supported; put an anchor on a whole value (key: &name …) and use it with *name"
      ]),
    BrokenFile(
      "two documents",
      "run_id: x\n---\nrun_id: y\n",
      [
        "2:1: error: a second document starts here, and only one is read; remove the '---' and keep everything in one document"
      ]),
    BrokenFile(
      "duplicate key",
      "run_id: x\ntimeout: 5s\nrun_id: y\n",
      [
        "3:1: error: the key \"run_id\" was already set in line 1; keep one of the two"
      ]),
    BrokenFile(
      "list as key",
      "[a]: b\n",
      [
        "1:1: error: a key must be a single word, not a list, a map or an alias; if a value that starts with '{', '[' or '*' was meant, put it in quotes"
      ]),
    BrokenFile(
      "missing key",
      ": b\n",
      [
        "1:1: error: a key is missing before ':'; write 'key: value'"
      ]),
    BrokenFile(
      "future YAML",
      "%YAML 3.0\n---\nrun_id: x\n",
      [
        "1:1: error: this version of YAML is not known; remove the %YAML line"
      ]),
    BrokenFile(
      "text in the line of a block",
      "run_id: |x\n  y\n",
      [
        "1:10: error: nothing but a comment may follow '|' or '>' in its line; start the text in the next line, indented"
      ]),
    BrokenFile(
      "bare colon port in a brace",
      "health: {listen: :8686}\n",
      [
        "1:18: error: a value cannot start with ':' here; put the value in quotes if the character belongs to it"
      ]),
  ])
  func isExplained(_ file: BrokenFile) {
    #expect(report(file.text) == file.expected.map { "supervisor.yml:\($0)" })
  }
}
