import CYAML

/// One event of libyaml's parser, copied out of its memory.
struct Event {
  var kind: yaml_event_type_t
  var position: SourcePosition
  /// The text of a scalar.
  var text = ""
  /// Whether a scalar was written without quotes and not as a block.
  var isPlain = false
  /// The anchor of a node, or the name an alias refers to.
  var anchor: String?
  /// An explicit tag.
  var tag: String?
}

/// What libyaml says when it gives up. Offsets, lines and columns count from 0.
struct ParserFailure {
  enum Stage { case memory, reader, scanner, parser }
  var stage: Stage
  var problem: String
  var line: Int
  var column: Int
  /// Byte offset, for the reader's failures only.
  var offset: Int
  var context: String
  var contextLine: Int
  var contextColumn: Int
}

/// Owns a libyaml parser over text that outlives it.
struct EventSource: ~Copyable {
  private let parser: UnsafeMutablePointer<yaml_parser_t>
  private let isReady: Bool

  init(_ text: UnsafeBufferPointer<UInt8>) {
    parser = .allocate(capacity: 1)
    parser.initialize(to: yaml_parser_t())
    isReady = yaml_parser_initialize(parser) == 1
    guard isReady else { return }
    yaml_parser_set_encoding(parser, YAML_UTF8_ENCODING)
    // libyaml takes no null pointer, even for an empty text.
    if let base = text.baseAddress {
      yaml_parser_set_input_string(parser, base, text.count)
    } else {
      yaml_parser_set_input_string(parser, UnsafeRawPointer(parser).assumingMemoryBound(to: UInt8.self), 0)
    }
  }

  deinit {
    if isReady { yaml_parser_delete(parser) }
    parser.deallocate()
  }

  /// The next event; nil when the text is broken (see `failure`).
  func next(file: String) -> Event? {
    guard isReady else { return nil }
    var raw = yaml_event_t()
    guard yaml_parser_parse(parser, &raw) == 1 else { return nil }
    defer { yaml_event_delete(&raw) }
    var event = Event(
      kind: raw.type,
      position: SourcePosition(
        file: file, line: Int(raw.start_mark.line) + 1, column: Int(raw.start_mark.column) + 1))
    switch raw.type {
    case YAML_SCALAR_EVENT:
      let scalar = raw.data.scalar
      event.text = String(
        decoding: UnsafeBufferPointer(start: scalar.value, count: scalar.length), as: UTF8.self)
      event.isPlain = scalar.style == YAML_PLAIN_SCALAR_STYLE
      event.anchor = string(scalar.anchor)
      event.tag = string(scalar.tag)
    case YAML_SEQUENCE_START_EVENT:
      event.anchor = string(raw.data.sequence_start.anchor)
      event.tag = string(raw.data.sequence_start.tag)
    case YAML_MAPPING_START_EVENT:
      event.anchor = string(raw.data.mapping_start.anchor)
      event.tag = string(raw.data.mapping_start.tag)
    case YAML_ALIAS_EVENT:
      event.anchor = string(raw.data.alias.anchor)
    default:
      break
    }
    return event
  }

  /// Why `next` returned nil.
  var failure: ParserFailure {
    let state = parser.pointee
    let stage: ParserFailure.Stage =
      switch state.error {
      case YAML_READER_ERROR: .reader
      case YAML_SCANNER_ERROR: .scanner
      case YAML_PARSER_ERROR: .parser
      default: .memory
      }
    return ParserFailure(
      stage: stage, problem: state.problem.map { String(cString: $0) } ?? "",
      line: Int(state.problem_mark.line), column: Int(state.problem_mark.column),
      offset: Int(state.problem_offset),
      context: state.context.map { String(cString: $0) } ?? "",
      contextLine: Int(state.context_mark.line), contextColumn: Int(state.context_mark.column))
  }

  private func string(_ pointer: UnsafeMutablePointer<UInt8>?) -> String? {
    pointer.map { String(cString: $0) }
  }
}
