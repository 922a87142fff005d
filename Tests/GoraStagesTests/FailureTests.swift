import Foundation
import Glibc
import GoraCore
import Testing

/// What happens where the machine fails: libraries, memory, threads. Small libraries in C stand in for the real ones.
@Suite(.serialized) struct FailureTests {
  static let compiler: String? = ["/usr/bin/cc", "/usr/bin/clang", "/usr/bin/gcc"].first { (path: String) in
    access(path, X_OK) == 0
  }

  /// Compiles a shared object into the workbench; its path.
  static func sharedObject(_ name: String, _ source: String, in bench: Workbench) throws -> String {
    try bench.write(source, to: "\(name).c")
    let process = Process()
    process.executableURL = URL(filePath: try #require(compiler))
    process.arguments = ["-shared", "-fPIC", "-O1", "-o", bench.file(name), bench.file("\(name).c"), "-ldl"]
    try process.run()
    process.waitUntilExit()
    try #require(process.terminationStatus == 0)
    return bench.file(name)
  }

  /// dnnl_sgemm, written out, of which call number $FAIL fails.
  static let product = """
    #include <stdint.h>
    #include <stdlib.h>
    int dnnl_sgemm(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                   int64_t ldb, float beta, float *c, int64_t ldc) {
      static _Atomic int calls;
      const char *fail = getenv("FAIL");
      if (fail && ++calls == atoi(fail)) return 1;
      for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
          float sum = 0;
          for (int64_t l = 0; l < k; l++)
            sum += (ta == 'T' ? a[l * lda + i] : a[i * lda + l]) * (tb == 'T' ? b[j * ldb + l] : b[l * ldb + j]);
          c[i * ldc + j] = alpha * sum + (beta == 0 ? 0 : beta * c[i * ldc + j]);
        }
      return 0;
    }
    """

  static let commands = [
    "gora-grad --model model --data rows.jsonl --steps 2 -o out", "gora-init plan.json --model model --gradients grad.h5 -o out",
    "gora-train init --model model --data rows.jsonl --batch-size 3 -o out",
    "gora-eval --model model --adapter init --task loss --data rows.jsonl -o out",
    "gora-export init --model model --profile merged -o out",
  ]

  /// A product that fails ends the stage: one line, status 69, nothing left; the first as well as a later one.
  @Test(.enabled(if: compiler != nil)) func failedProduct() throws {
    let bench = try Workbench()
    try bench.prepare()
    for major in ["2", "3"] { _ = try Self.sharedObject("libdnnl.so.\(major)", Self.product, in: bench) }
    let before = bench.files()
    for command in Self.commands {
      let tool = command.prefix { $0 != " " }
      let environment = ["LD_LIBRARY_PATH=\(bench.path)"]
      let whole = try bench.run("\(command) -q -t 2", environment: environment)
      #expect(whole.status == 0, "\(whole.error)")
      try bench.remove("out")
      for call in [1, 3] {
        let outcome = try bench.run("\(command) -q -t 2", environment: environment + ["FAIL=\(call)"])
        #expect(outcome.status == 69, "\(command): \(outcome.error)")
        #expect(
          outcome.error.wholeMatch(of: try Regex("\(tool): error: oneDNN's f32 product of .* failed: out of memory\n")) != nil,
          "\(outcome.error)")
        #expect(outcome.output.isEmpty && bench.files() == before, "\(command)")
      }
    }
  }

  /// A library that cannot be loaded is not called missing, nor done without.
  @Test func brokenLibrary() throws {
    let bench = try Workbench()
    // Both names of each: whichever version of oneDNN this build asks for.
    for names in [["libopenblas.so.0", "libopenblas.so"], ["libdnnl.so.2", "libdnnl.so.3"]] {
      for name in names { try bench.write("no library", to: name) }
      let outcome = try bench.run(Self.commands[0], environment: ["LD_LIBRARY_PATH=\(bench.path)"])
      for name in names { try bench.remove(name) }
      #expect(outcome.status == 69, "\(outcome.error)")
      #expect(outcome.error.contains("error: no matrix library: "), "\(outcome.error)")
      #expect(outcome.error.contains("file too short") && !bench.exists("out"), "\(outcome.error)")
    }
  }

  /// Whatever memory there is: the stage runs to its end or says that it cannot, and never hangs.
  @Test(arguments: [10_000, 14_000, 18_000, 22_000, 30_000, 55_000, 120_000]) func littleMemory(_ kibibytes: Int) throws {
    let bench = try Workbench()
    try bench.prepare()
    let before = bench.files()
    for command in Self.commands {
      let outcome = try bench.run(
        "\(command) -q -t 2", shell: "ulimit -d \(kibibytes) && exec timeout -s KILL 60 \"$@\"")
      #expect([0, 69, 71].contains(outcome.status), "\(command), \(kibibytes) KiB: \(outcome.status) \(outcome.error)")
      if outcome.status == 0 {
        try bench.remove("out")
      } else {
        #expect(outcome.error.contains("error: "))
        #expect(bench.files() == before, "\(command), \(kibibytes) KiB")
      }
    }
  }

  /// Threads that the system refuses change nothing but the time.
  @Test(.enabled(if: compiler != nil)) func refusedThreads() throws {
    let bench = try Workbench()
    try bench.prepare()
    let refusing = try Self.sharedObject("refusing.so", "int pthread_create(void) { return 11; }", in: bench)
    let command = "gora-train init --model model --data rows.jsonl --batch-size 3 --no-provenance -t 2"
    #expect(try bench.run("\(command) -q -o two").status == 0)
    let outcome = try bench.run("\(command) -o one", environment: ["LD_PRELOAD=\(refusing)"])
    #expect(outcome.status == 0)
    #expect(outcome.error.contains("gora-train: warning: only 1 of 2 threads could be started"), "\(outcome.error)")
    #expect(try bench.contents("one") == bench.contents("two"))
  }

  /// The libraries take no threads of their own, whatever the environment says.
  @Test func environmentOfLibraries() throws {
    let bench = try Workbench()
    try bench.prepare()
    let words = "init --model model --data rows.jsonl --batch-size 3 -o out --max-steps 1000000 --save-every 1 -t 1".split(
      separator: " ")
    let many = ["OMP_NUM_THREADS=4", "OPENBLAS_NUM_THREADS=4", "GOTO_NUM_THREADS=4"]
    let child = try Child("gora-train", words.map(String.init), in: bench.path, environment: many)
    defer { child.send(SIGKILL) }
    bench.wait(for: "out/checkpoint/state.safetensors")
    let tasks = try FileManager.default.contentsOfDirectory(atPath: "/proc/\(child.processID)/task")
    child.send(SIGKILL)
    #expect(try child.wait().status == 128 + SIGKILL)
    #expect(tasks.count == 1)
  }

  @Test func threadsOutOfRange() throws {
    for arguments in [["-t", "0"], ["-t", "100000"], ["-t", "9223372036854775807"]] {
      let outcome = try Child.run("gora-plan", arguments, in: "/")
      #expect(outcome.status == 64 && outcome.error.contains("expected 1 to 1024"), "\(outcome.error)")
    }
    let outcome = try Child.run("gora-plan", [], in: "/", environment: ["GORA_THREADS=100000"])
    #expect(outcome.status == 64 && outcome.error.contains("GORA_THREADS is \"100000\""), "\(outcome.error)")
  }
}
