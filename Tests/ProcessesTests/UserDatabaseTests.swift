import Processes
import Testing

struct UserDatabaseTests {
  private let database = UserDatabase(
    passwd: """
      root:x:0:0:root:/root:/bin/bash
      # a comment
      app:x:1000:1000:App,,,:/home/app:/bin/sh
      broken line
      short:x:5
      letters:x:abc:5::/:/bin/sh
      web:x:33:33::/var/www:/usr/sbin/nologin
      1234:x:77:77::/home/number:/bin/sh
      """,
    group: """
      root:x:0:
      app:x:1000:
      video:x:44:app,web
      audio:x:29:app
      nobody-in-it:x:50:
      broken
      """)

  @Test(
    arguments: [
      ("root", 0, 0, [0], "/root"),
      ("app", 1000, 1000, [1000, 44, 29], "/home/app"),
      ("1000", 1000, 1000, [1000, 44, 29], "/home/app"),
      ("web", 33, 33, [33, 44], "/var/www"),
      ("app:video", 1000, 44, [44, 29], "/home/app"),
      ("app:50", 1000, 50, [50, 44, 29], "/home/app"),
      ("4242", 4242, 0, [], nil),
      ("4242:4343", 4242, 4343, [], nil),
      ("4242:video", 4242, 44, [], nil),
      // A name wins over the number that it looks like.
      ("1234", 77, 77, [77], "/home/number"),
    ] as [(String, UInt32, UInt32, [UInt32], String?)])
  func `a user is found by name or number, with its groups`(
    text: String, user: UInt32, group: UInt32, groups: [UInt32], home: String?
  ) throws {
    let (identity, entry) = try database.resolve(user: text, groups: nil)
    #expect(identity == Identity(user: user, group: group, supplementaryGroups: groups))
    #expect(entry?.home == home)
  }

  @Test func `groups that are listed replace the user's own`() throws {
    let (identity, _) = try database.resolve(user: "app", groups: ["audio", "7"])
    #expect(identity.supplementaryGroups == [29, 7])
    #expect(try database.resolve(user: "app", groups: []).identity.supplementaryGroups == [])
  }

  @Test(
    arguments: [
      ("nobody", nil, "user 'nobody'"), ("", nil, "user ''"), ("short", nil, "user 'short'"),
      ("-1", nil, "user '-1'"), ("4294967296", nil, "user '4294967296'"), ("app:", nil, "group ''"),
      ("app:nope", nil, "group 'nope'"), ("app", ["nope"], "group 'nope'"),
    ] as [(String, [String]?, String)])
  func `a name that is nobody's is an error that says which, and what to do`(
    text: String, groups: [String]?, named: String
  ) {
    let error = #expect(throws: UserDatabase.UnknownName.self) {
      try database.resolve(user: text, groups: groups)
    }
    #expect(error.map { "\($0)" }?.hasPrefix(named) == true)
    #expect(error.map { "\($0)" }?.contains("use a number") == true)
  }

  @Test func `lines may end as on Windows`() throws {
    let database = UserDatabase(
      passwd: "root:x:0:0:root:/root:/bin/sh\r\napp:x:1000:1000::/home/app:/bin/sh\r\n",
      group: "root:x:0:\r\nvideo:x:44:web,app\r\n")
    let (identity, entry) = try database.resolve(user: "app", groups: nil)
    #expect(identity.user == 1000)
    #expect(entry?.home == "/home/app")
    #expect(identity.supplementaryGroups == [1000, 44])
  }

  @Test func `empty files know nobody, and numbers work all the same`() throws {
    let empty = UserDatabase(passwd: "", group: "")
    #expect(try empty.resolve(user: "0", groups: nil).identity.user == 0)
    #expect(empty.user(id: 0) == nil)
    #expect(throws: UserDatabase.UnknownName.self) { try empty.resolve(user: "root", groups: nil) }
  }

  @Test func `this machine has a root`() {
    #expect(UserDatabase.system().user(id: 0)?.name == "root")
  }
}
