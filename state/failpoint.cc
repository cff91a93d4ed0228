#include "state/failpoint.h"

#include <csignal>

#include <atomic>
#include <cstdlib>
#include <string>

namespace bongsu {
namespace {

struct Armed {
  std::string name;
  long at = 1;
};

const Armed& Wanted() {
  static const Armed armed = [] {
    Armed result;
    const char* text = std::getenv("BONGSU_FAILPOINT");
    if (text == nullptr) return result;
    result.name = text;
    if (const size_t colon = result.name.find(':'); colon != std::string::npos) {
      result.at = std::strtol(result.name.c_str() + colon + 1, nullptr, 10);
      result.name.resize(colon);
    }
    return result;
  }();
  return armed;
}

}  // namespace

std::string_view FailpointName(Failpoint point) {
  switch (point) {
    case Failpoint::kEpochBegun:
      return "epoch_begun";
    case Failpoint::kOutputWritten:
      return "output_written";
    case Failpoint::kBundleSent:
      return "bundle_sent";
    case Failpoint::kChangelogWritten:
      return "changelog_written";
    case Failpoint::kFlushed:
      return "flushed";
    case Failpoint::kAuthorized:
      return "authorized";
    case Failpoint::kOffsetsSent:
      return "offsets_sent";
    case Failpoint::kEndTxnSent:
      return "end_txn_sent";
    case Failpoint::kCommitted:
      return "committed";
    case Failpoint::kMerged:
      return "merged";
    case Failpoint::kStoreWriting:
      return "store_writing";
    case Failpoint::kStoreBatched:
      return "store_batched";
    case Failpoint::kStoreWritten:
      return "store_written";
    case Failpoint::kTrimming:
      return "trimming";
    case Failpoint::kTrimmed:
      return "trimmed";
    case Failpoint::kOwned:
      return "owned";
    case Failpoint::kFenced:
      return "fenced";
    case Failpoint::kRegistrySent:
      return "registry_sent";
    case Failpoint::kRestoring:
      return "restoring";
    case Failpoint::kRestored:
      return "restored";
  }
  return "";
}

void ReachFailpoint(Failpoint point) {
  static std::atomic<long> reached{0};
  const Armed& armed = Wanted();
  if (armed.name.empty() || armed.name != FailpointName(point)) return;
  if (reached.fetch_add(1) + 1 == armed.at) raise(SIGKILL);
}

}  // namespace bongsu
