import CHDF5
import Glibc
import GoraCore

/// libhdf5 as a process-wide resource: it is single-threaded, so every use goes through `exclusively`.
enum HDF5 {
  /// H5P_DEFAULT, H5S_ALL and H5E_DEFAULT, which are all the id 0.
  static let standard: hid_t = 0

  private nonisolated(unsafe) static let mutex: UnsafeMutablePointer<pthread_mutex_t> = {
    let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
    // At exit the library would try once more to flush a file that the disk had no room for.
    H5dont_atexit()
    H5open()
    // A file may name any filter; none is loaded from outside for it.
    H5PLset_loading_state(0)
    _ = ZstdFilter.register()
    return mutex
  }()

  /// Runs one group of calls alone in the process, with the library's own trace to stderr switched off.
  static func exclusively<T>(_ body: () throws(GoraError) -> T) throws(GoraError) -> T {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    H5Eset_auto2(standard, nil, nil)
    return try body()
  }

  /// The library's version, "1.10.8".
  static var version: String {
    var major: UInt32 = 0
    var minor: UInt32 = 0
    var release: UInt32 = 0
    H5get_libversion(&major, &minor, &release)
    return "\(major).\(minor).\(release)"
  }
}

/// What is being written, for the error that a call may end in.
struct HDF5Place {
  /// The path as the user gave it.
  let path: String
  /// The object inside the file, such as `/gradients/…`; empty for the file itself.
  let object: String

  var location: Location { object.isEmpty ? .file(path) : .object(path, name: object) }

  func at(_ object: String) -> HDF5Place { HDF5Place(path: path, object: object) }
}

/// Makes one libhdf5 call; a negative result becomes an error with the innermost line of the library's error stack.
@discardableResult
func h5Call<Result: FixedWidthInteger & SignedInteger>(
  _ function: StaticString, at place: HDF5Place, _ body: () -> Result
) throws(GoraError) -> Result {
  H5Eclear2(HDF5.standard)
  let result = body()
  if result >= 0 { return result }
  let reason = h5InnermostError()
  throw GoraError(
    .io, at: place.location, "cannot write: \(reason) (\(function))",
    hint: reason == systemMessage(ENOSPC) ? "free some space, or write to another place" : nil)
}

/// Comparable to the last line of the trace that the library would print.
private func h5InnermostError() -> String {
  var text = [CChar](repeating: 0, count: 1024)
  gora_h5_innermost_error(&text, text.count)
  let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
  let line = String(decoding: bytes, as: UTF8.self)
  // Failed system calls are told with times and addresses around the system's own sentence.
  if let start = line.firstRange(of: "error message = '"), let end = line[start.upperBound...].firstIndex(of: "'") {
    let sentence = line[start.upperBound..<end]
    return sentence.prefix(1).lowercased() + sentence.dropFirst()
  }
  return line.isEmpty ? "no reason given" : line
}

/// An open object of libhdf5 (file, group, dataset, space, type, property list), released once.
struct HDF5Handle: ~Copyable {
  let id: hid_t

  /// Takes the id that a creating or opening call returned.
  init(_ function: StaticString, at place: HDF5Place, _ body: () -> hid_t) throws(GoraError) {
    id = try h5Call(function, at: place, body)
  }

  deinit { H5Idec_ref(id) }

  /// Releases now, and tells of an error: a dataset's last chunks are written as it closes.
  consuming func close(_ function: StaticString, at place: HDF5Place) throws(GoraError) {
    let id = id
    discard self
    try h5Call(function, at: place) { H5Idec_ref(id) }
  }
}

/// An HDF5 file being written; every method, and `close` before it goes, is to be called inside
/// `HDF5.exclusively`.
final class HDF5FileWriter {
  let place: HDF5Place
  private(set) var id: hid_t = -1

  /// Creates a file at `path`, reporting errors under the name `reported`.
  init(creating path: String, reported: String) throws(GoraError) {
    let place = HDF5Place(path: reported, object: "")
    self.place = place
    let access = try HDF5FileWriter.accessList(at: place)
    // The 1.8 format checksums all headers, unlike the default, and lacks the latest format's consistency flag,
    // which locks a file out after a crash.
    try h5Call("H5Pset_libver_bounds", at: place) {
      H5Pset_libver_bounds(access.id, H5F_LIBVER_V18, H5F_LIBVER_V18)
    }
    let creation = try HDF5Handle("H5Pcreate", at: place) { H5Pcreate(gora_h5_class_file_create()) }
    try h5Call("H5Pset_obj_track_times", at: place) { H5Pset_obj_track_times(creation.id, false) }
    id = try h5Call("H5Fcreate", at: place) { gora_h5_create(path, creation.id, access.id) }
  }

  private static func accessList(at place: HDF5Place) throws(GoraError) -> HDF5Handle {
    let access = try HDF5Handle("H5Pcreate", at: place) { H5Pcreate(gora_h5_class_file_access()) }
    // Closing the file closes what is still open in it: an error path leaves nothing behind.
    try h5Call("H5Pset_fclose_degree", at: place) { H5Pset_fclose_degree(access.id, H5F_CLOSE_STRONG) }
    // Network and read-only file systems refuse locks, and a finished gradient file never changes.
    try h5Call("H5Pset_file_locking", at: place) { H5Pset_file_locking(access.id, false, true) }
    return access
  }

  /// Closes, and tells of an error: the last blocks are written now.
  func close() throws(GoraError) {
    guard id >= 0 else { return }
    let closing = id
    id = -1
    try h5Call("H5Fclose", at: place) { H5Fclose(closing) }
  }

  deinit { if id >= 0 { H5Fclose(id) } }

  // MARK: Groups

  /// Creates a group without times, so that equal runs give equal bytes.
  func createGroup(_ name: String) throws(GoraError) {
    let place = place.at(name)
    let creation = try HDF5Handle("H5Pcreate", at: place) { H5Pcreate(gora_h5_class_group_create()) }
    try h5Call("H5Pset_obj_track_times", at: place) { H5Pset_obj_track_times(creation.id, false) }
    let group = try HDF5Handle("H5Gcreate2", at: place) {
      H5Gcreate2(id, name, HDF5.standard, creation.id, HDF5.standard)
    }
    try group.close("H5Gclose", at: place)
  }

  // MARK: Attributes of the root group

  /// Writes a text attribute: UTF-8 of fixed length (a variable length would lie in the global heap, which has no checksum).
  func write(attribute name: String, _ value: String) throws(GoraError) {
    try h5WriteAttribute(name, value, on: id, at: place)
  }

  /// Writes a 64-bit integer attribute.
  func write(attribute name: String, _ value: Int) throws(GoraError) {
    try h5WriteAttribute(name, value, on: id, at: place)
  }
}

// MARK: - Attributes of any object

func h5WriteAttribute(_ name: String, _ value: String, on object: hid_t, at place: HDF5Place) throws(GoraError) {
  let bytes = Array(value.utf8) + [0]
  let type = try HDF5Handle("H5Tcopy", at: place) { H5Tcopy(gora_h5_string()) }
  try h5Call("H5Tset_size", at: place) { H5Tset_size(type.id, bytes.count) }
  try h5Call("H5Tset_cset", at: place) { H5Tset_cset(type.id, H5T_CSET_UTF8) }
  try h5WriteAttribute(name, bytes, fileType: type.id, memoryType: type.id, on: object, at: place)
}

func h5WriteAttribute(_ name: String, _ value: Int, on object: hid_t, at place: HDF5Place) throws(GoraError) {
  try h5WriteAttribute(
    name, [Int64(value)], fileType: gora_h5_i64le(), memoryType: gora_h5_native_int64(), on: object, at: place)
}

private func h5WriteAttribute<Element: BitwiseCopyable>(
  _ name: String, _ value: [Element], fileType: hid_t, memoryType: hid_t, on object: hid_t, at place: HDF5Place
) throws(GoraError) {
  let space = try HDF5Handle("H5Screate", at: place) { H5Screate(H5S_SCALAR) }
  let attribute = try HDF5Handle("H5Acreate2", at: place) {
    H5Acreate2(object, name, fileType, space.id, HDF5.standard, HDF5.standard)
  }
  try h5Call("H5Awrite", at: place) { H5Awrite(attribute.id, memoryType, value) }
}
