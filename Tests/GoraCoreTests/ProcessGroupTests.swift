import Testing

@testable import GoraCore

/// What can be known of a group without one; `Tests/mpi/run` starts some.
@Suite struct ProcessGroupTests {
  static func launch(_ variables: [String: String]) -> ProcessLaunch { ProcessLaunch { variables[$0] } }

  @Test func launchers() {
    #expect(Self.launch([:]).families.isEmpty && Self.launch([:]).refusal == nil)
    let open = Self.launch(["OMPI_COMM_WORLD_SIZE": "4", "OMPI_COMM_WORLD_RANK": "3", "PMIX_RANK": "3"])
    #expect(open.families == [.openMPI] && open.size == 4 && open.rank == 3)
    let mpich = Self.launch(["PMI_RANK": "1", "PMI_SIZE": "2"])
    #expect(mpich.families == [.mpich] && mpich.size == 2 && mpich.rank == 1)
    // srun --mpi=pmix does not say whose library it is.
    let slurm = Self.launch(["PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "0"])
    #expect(slurm.families == [.openMPI, .mpich] && slurm.size == 8 && slurm.refusal == nil)
    // srun without an MPI: each process would take itself for the only one.
    let lost = Self.launch(["SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"])
    #expect(lost.families.isEmpty && lost.size == 8 && lost.rank == 5 && lost.refusal?.status == .usage)
    #expect(Self.launch(["SLURM_STEP_NUM_TASKS": "1", "SLURM_PROCID": "0"]).refusal == nil)
    // A batch script that srun did not start, and what is no number.
    #expect(Self.launch(["SLURM_NTASKS": "8", "SLURM_PROCID": "0"]) == Self.launch([:]))
    #expect(Self.launch(["OMPI_COMM_WORLD_SIZE": "many"]) == Self.launch([:]))
  }

  @Test func masks() {
    #expect(MachinePlace(machine: "a", mask: "3").cpus == [0, 1])
    #expect(MachinePlace(machine: "a", mask: "80000001,00000010").cpus == [4, 32, 63])
    #expect(MachinePlace(machine: "a", mask: "").cpus.isEmpty)
    let place = MachinePlace(machine: "a", mask: "f0")
    #expect(MachinePlace(place.text) == place && place.cpus == [4, 5, 6, 7])
    #expect(!MachinePlace.own.cpus.isEmpty && !MachinePlace.own.machine.isEmpty)
  }

  /// Each CPU is shared by those that may use it, on its machine; all processes have the threads of the worst off.
  @Test(arguments: [
    ([("a", "ff"), ("a", "ff")], 4), ([("a", "0f"), ("a", "f0")], 4), ([("a", "ff"), ("b", "ff")], 8),
    ([("a", "ff"), ("a", "ff"), ("a", "ff")], 2), ([("a", "1"), ("a", "1")], 1), ([("a", "ff"), ("a", "ff"), ("b", "3")], 2),
    ([("a", "0f"), ("a", "0f"), ("a", "f0")], 2),
  ])
  func threads(places: [(String, String)], expected: Int) {
    #expect(MachinePlace.leastShare(places.map { MachinePlace(machine: $0, mask: $1) }) == expected)
  }

  @Test func unknownMask() {
    #expect(MachinePlace.leastShare([MachinePlace(machine: "a", mask: "ff"), MachinePlace(machine: "a", mask: "")]) == nil)
  }

  /// Alone, what is gathered is one's own.
  @Test func alone() throws {
    #expect(ProcessGroup.isAlone && ProcessGroup.isFirst && ProcessGroup.ranksOnThisMachine == 1)
    #expect(ProcessGroup.allGather([1, 2] as [UInt8]) == [[1, 2]])
    #expect(ProcessGroup.allGather([0.5]) == [[0.5]] && ProcessGroup.first(true))
    try ProcessGroup.requireSame("a=1")
  }
}
