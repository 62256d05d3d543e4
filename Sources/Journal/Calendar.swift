extension WallTime {
  private struct Fields {
    var year = 0
    var month = 0
    var day = 0
    var hour = 0
    var minute = 0
    var second = 0
    /// 0 is Sunday.
    var weekday = 0
  }

  /// The date in the Gregorian calendar, UTC. Days are counted in years that begin in March, so that the leap day
  /// comes last and the lengths of the months follow one line: (153 m + 2) / 5.
  private var fields: Fields {
    let days = Int(seconds / 86_400)
    let rest = Int(seconds % 86_400)
    // 719,468 days lie between 0000-03-01 and 1970-01-01; an era is 400 years, 146,097 days.
    let shifted = days + 719_468
    let era = shifted / 146_097
    let dayOfEra = shifted % 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    return Fields(
      year: era * 400 + yearOfEra + (month <= 2 ? 1 : 0), month: month,
      day: dayOfYear - (153 * shiftedMonth + 2) / 5 + 1, hour: rest / 3600, minute: rest % 3600 / 60,
      second: rest % 60,
      // 1970-01-01 was a Thursday.
      weekday: (days + 4) % 7)
  }

  private static func twoDigits(_ value: Int) -> String { value < 10 ? "0\(value)" : "\(value)" }

  /// `2026-01-31T23:59:59.042Z` (RFC 3339, milliseconds).
  public var iso8601: String {
    let fields = fields
    let milliseconds = Int(nanoseconds / 1_000_000 % 1000)
    let fraction = (milliseconds < 100 ? "0" : "") + WallTime.twoDigits(milliseconds)
    return "\(fields.year)-\(WallTime.twoDigits(fields.month))-\(WallTime.twoDigits(fields.day))T"
      + "\(WallTime.clock(fields)).\(fraction)Z"
  }

  /// `Sat, 31 Jan 2026 23:59:59 GMT` (RFC 9110, section 5.6.7).
  public var httpDate: String {
    let fields = fields
    let weekday = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][fields.weekday]
    let month = [
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ][fields.month - 1]
    return
      "\(weekday), \(WallTime.twoDigits(fields.day)) \(month) \(fields.year) \(WallTime.clock(fields)) GMT"
  }

  /// `23:59:59`, UTC.
  public var clockTime: String { WallTime.clock(fields) }

  private static func clock(_ fields: Fields) -> String {
    "\(twoDigits(fields.hour)):\(twoDigits(fields.minute)):\(twoDigits(fields.second))"
  }
}
