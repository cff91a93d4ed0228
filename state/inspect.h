// File: state/inspect.h
//
// Looking at the state folder of a stopped instance: `bongsu state info | verify | export`. Nothing
// is written to it, nothing is restored, and nothing of the configuration is needed.
//
//   ASSIGN_OR_RETURN(auto inspector, StateInspector::Open("/var/lib/bongsu"));
//   ASSIGN_OR_RETURN(StateInfo info, inspector->Info());
//   RETURN_IF_ERROR(inspector->Verify());
//
// OpenBeside looks at the folder of an instance that runs, too: as a RocksDB "secondary", which
// asks for no lock and writes nothing there. It sees the state as of one moment, the newest that
// was flushed when it was opened: a few seconds old, never a half-written one.
//
// Errors: FailedPrecondition: an instance is using it, it is of an unknown format, or there is no
// state; DataLoss: damaged, with the file's name where a block's checksum does not hold.
//
// Thread-safety: none.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "state/changelog_format.h"
#include "state/store.h"
#include "state/types.h"

namespace bongsu {

struct StateInfo {
  int format_version = 0;
  std::string application;
  uint16_t shards = 0;
  uint64_t hash_seed = 0;
  std::optional<CheckpointMeta> checkpoint;
  bool replayed = false;  // the rows are newer than the checkpoint's positions
  bool unlogged = false;  // its last changes are in no changelog
  std::map<ShardId, ChangelogPosition> changelog;
  struct Operator {
    std::string name;  // empty: rows that belong to no operator any more
    std::string semantic_hash;
    uint64_t list_rows = 0;
    uint64_t value_rows = 0;
    uint64_t timer_rows = 0;
    uint64_t bytes = 0;  // of keys and values, before compression
  };
  std::vector<Operator> operators;
  uint64_t files_bytes = 0;  // on disk
  // Over all rows of operators, in order, with the operator's name in place of its number and
  // without the expired ones: equal state, equal checksum, on every disk.
  uint64_t rows_checksum = 0;
};

struct StateRow {
  ShardId shard = 0;
  std::string_view op;
  std::string_view kind;  // list, value, timer
  uint8_t handle = 0;     // which of the operator's lists and value maps
  std::string_view key;
  EventTimeNs time = 0;  // lists and timers
  uint64_t seq = 0;      // lists
  std::string_view value;
};

class StateInspector {
 public:
  virtual ~StateInspector() = default;
  static absl::StatusOr<std::unique_ptr<StateInspector>> Open(const std::string& path);
  static absl::StatusOr<std::unique_ptr<StateInspector>> OpenBeside(const std::string& path);

  // Of Info what needs no look at the rows; no operators.
  virtual absl::StatusOr<StateInfo> Head() = 0;

  // Reads every row.
  virtual absl::StatusOr<StateInfo> Info() = 0;
  // Reads every block of every file, and every row; the first thing that is wrong.
  [[nodiscard]] virtual absl::Status Verify() = 0;
  // Every live row of every operator; views are valid during the call.
  [[nodiscard]] virtual absl::Status Export(absl::FunctionRef<void(const StateRow&)> visit) = 0;
  // The same of one operator's lists and values, without reading the others' rows; known by name
  // and semantic hash; the newest where plans brought several. NotFound: the state has none.
  [[nodiscard]] virtual absl::Status ExportOperator(
      std::string_view name, std::string_view semantic_hash,
      absl::FunctionRef<void(const StateRow&)> visit) = 0;
};

}  // namespace bongsu
