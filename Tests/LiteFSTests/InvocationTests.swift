import LiteFS
import Testing

struct InvocationTests {
  @Test func `LiteFS reads our file and expands nothing in it`() {
    #expect(
      LiteFSInvocation.arguments(file: "/run/litefs.yml")
        == ["mount", "-config", "/run/litefs.yml", "-no-expand-env"])
    #expect(LiteFSInvocation.withheld == ["LITEFS_CLOUD_TOKEN", "LITEFS_CLOUD_ENDPOINT"])
  }
}
