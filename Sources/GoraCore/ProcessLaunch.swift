import CGoraMPI
import Glibc

/// What the environment says of a launcher.
package struct ProcessLaunch: Sendable, Equatable {
  /// An MPI and its launcher.
  package enum Family: Sendable {
    case openMPI
    /// All of one ABI: MPICH, Intel MPI, MVAPICH.
    case mpich

    var code: gora_mpi_family { self == .openMPI ? GORA_MPI_OPEN : GORA_MPI_MPICH }
    var launcher: String { self == .openMPI ? "Open MPI's launcher" : "MPICH's launcher" }
    var package: String { self == .openMPI ? "libopenmpi-dev" : "libmpich-dev" }
  }

  /// Whose library is to be opened: the first that is there. None without a launcher.
  package private(set) var families: [Family] = []
  /// Processes that it started; nil where it does not say.
  package private(set) var size: Int?
  /// This process's number among them.
  package private(set) var rank = 0
  /// Why the processes could not find each other, if they could not.
  package private(set) var refusal: GoraError?

  package static func == (a: ProcessLaunch, b: ProcessLaunch) -> Bool {
    a.families == b.families && a.size == b.size && a.rank == b.rank && a.refusal?.description == b.refusal?.description
  }

  /// - Parameter variable: the value of an environment variable, nil where it is not set.
  package init(_ variable: (String) -> String? = { name in getenv(name).map { String(cString: $0) } }) {
    func number(_ name: String) -> Int? { variable(name).flatMap { Int($0) } }
    if let size = number("OMPI_COMM_WORLD_SIZE") {
      (families, self.size, rank) = ([.openMPI], size, number("OMPI_COMM_WORLD_RANK") ?? 0)
    } else if let rank = number("PMI_RANK") {
      (families, size, self.rank) = ([.mpich], number("PMI_SIZE"), rank)
    } else if let rank = number("PMIX_RANK") {
      (families, size, self.rank) = ([.openMPI, .mpich], number("SLURM_STEP_NUM_TASKS"), rank)
    } else if let size = number("SLURM_STEP_NUM_TASKS"), size > 1 {
      (self.size, rank) = (size, number("SLURM_PROCID") ?? 0)
      refusal = GoraError(
        .usage, "srun started \(size) processes that do not find each other: each would do all the work and write the output",
        hint: "srun --mpi=pmix, or --mpi=pmi2 for MPICH; srun --mpi=list shows what there is")
    }
  }
}
