#include "pipeline/file/file_source.h"

#include <fmt/format.h>
#include <glob.h>
#include <sys/resource.h>
#include <xxhash.h>

#include <algorithm>
#include <cstring>

#include "pipeline/decoder.h"
#include "pipeline/file/byte_stream.h"
#include "pipeline/file/read_buffer.h"
#include "pipeline/json_text.h"
#include "state/check.h"
#include "state/status_macros.h"

namespace bongsu {
namespace {

constexpr size_t kChunkBytesMax = size_t{256} << 10;
constexpr size_t kChunkBytesMin = size_t{16} << 10;
constexpr size_t kAllChunksBytesMax = size_t{64} << 20;
constexpr size_t kReadBytes = size_t{64} << 10;
// Of a file's content: by their hash it is known again.
constexpr size_t kBeginningBytes = size_t{4} << 10;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
// Lines looked at for a chunk's first event time; a chunk without one goes first.
constexpr int kHeadLinesMax = 16;

struct Chunk : BatchHolder {
  explicit Chunk(std::shared_ptr<BufferPool> from) : pool(std::move(from)) {}
  ~Chunk() override { pool->Give(std::move(bytes)); }
  const std::shared_ptr<BufferPool> pool;
  ReadBuffer bytes;  // lines, and kRecordSlackBytes behind them
  std::vector<std::pair<size_t, Record>>
      records;  // where in `bytes`; views are set when it is handed out
  int64_t next_offset = 0;
  std::optional<uint64_t> beginning;  // of the file, as far as next_offset
  EventTimeNs head = kMinEventTime;
  bool last = false;
};

bool IsBlank(std::string_view line) {
  return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

// One file, read chunk by chunk.
class File {
 public:
  File(PartitionId partition, std::string path, size_t record_bytes_max,
       std::shared_ptr<BufferPool> pool)
      : partition_(partition),
        path_(std::move(path)),
        record_bytes_max_(record_bytes_max),
        pool_(std::move(pool)) {}

  // False: it was read to its end, and still ends there.
  absl::StatusOr<bool> Start(const Position& position, size_t chunk_bytes) {
    chunk_bytes_ = chunk_bytes;
    // It may be started once more: where another part of the engine could not start.
    pending_ = ReadBuffer();
    at_end_ = false;
    broken_ = failure_ = absl::OkStatus();
    BONGSU_ASSIGN_OR_RETURN(stream_, OpenByteStream(path_));
    char before = '\n';
    BONGSU_RETURN_IF_ERROR(ReadBeginning(position, &before));
    if (position.ended && StillEnds(position.next_offset)) {
      stream_.reset();
      return false;
    }
    BONGSU_RETURN_IF_ERROR(Enter(position.next_offset, &before));
    if (position.ended && before != '\n') BONGSU_RETURN_IF_ERROR(CheckLineEnded());
    if (offset_ == 0) BONGSU_RETURN_IF_ERROR(SkipByteOrderMark());
    return true;
  }

  // Of its content as far as offset(): see Position.
  std::optional<uint64_t> beginning() {
    if (beginning_.has_value() || offset_ == 0) return beginning_;
    const size_t bytes = std::min(kBeginningBytes, static_cast<size_t>(offset_));
    const uint64_t hash = XXH3_64bits(head_.data(), bytes);
    if (bytes < kBeginningBytes) return hash;
    head_ = std::string();  // there may be many files
    return beginning_ = hash;
  }

  // The next chunk; its records may be none at the end of the file.
  absl::Status Next(std::unique_ptr<Chunk>* out) {
    auto chunk = std::make_unique<Chunk>(pool_);
    chunk->records.reserve(kBatchRecordsMax);
    size_t line = 0;  // beginning of the line in pending_
    absl::Status failure;
    while (true) {
      const size_t end = pending_.view().find('\n', line);
      if (end != std::string::npos) {
        if (end - line > record_bytes_max_) {
          if (line > 0) break;  // a chunk of its own
          AddLong(pending_.view().substr(0, end), chunk.get());
          line = end + 1;
          break;
        }
        Add(line, end, chunk.get());
        line = end + 1;
        if (chunk->records.size() >= kBatchRecordsMax || line >= chunk_bytes_) break;
      } else if (at_end_) {
        if (line < pending_.size()) Add(line, pending_.size(), chunk.get());
        line = pending_.size();
        chunk->last = true;
        break;
      } else if (pending_.size() - line > record_bytes_max_) {
        if (line == 0) failure = SkipLong(chunk.get());
        break;
      } else if (failure = Fill(); !failure.ok()) {
        break;  // what was complete before the damage is handed out first
      }
    }
    if (chunk->bytes.empty()) {
      // Its lines stay where they were read to; the beginning of the next one moves.
      ReadBuffer rest = pool_->Take(chunk_bytes_ + 2 * kReadBytes);
      rest.Append(pending_.view().substr(line));
      chunk->bytes = std::move(pending_);
      chunk->bytes.Cut(line);
      pending_ = std::move(rest);
    } else {
      pending_.DropFront(line);
    }
    chunk->bytes.AppendZeros(kRecordSlackBytes);
    offset_ += static_cast<int64_t>(line);
    chunk->next_offset = offset_;
    chunk->beginning = beginning();
    failure_ = failure;
    if (!failure.ok()) chunk->last = true;
    *out = std::move(chunk);
    return absl::OkStatus();
  }

  // Why the file could not be read to its end.
  const absl::Status& failure() const { return failure_; }
  PartitionId partition() const { return partition_; }
  int64_t offset() const { return offset_; }

 private:
  absl::Status Refused(std::string_view why) const {
    return absl::FailedPreconditionError(fmt::format(
        "{} {}; restore it, or give the new run its own state.path and outputs", path_, why));
  }
  absl::Status CutOrReplaced(int64_t content, int64_t read) const {
    return Refused(fmt::format(
        "has {} bytes of content, but {} were read before: it was cut or replaced", content, read));
  }

  // Reads anew what is hashed, and no more of it; `before` is the last byte read.
  absl::Status ReadBeginning(const Position& position, char* before) {
    beginning_.reset();
    offset_ = 0;
    const int64_t bytes = std::min(int64_t{kBeginningBytes}, position.next_offset);
    head_.resize(static_cast<size_t>(bytes));
    while (offset_ < bytes) {
      BONGSU_ASSIGN_OR_RETURN(const size_t n, stream_->Read(head_.data() + offset_,
                                                            static_cast<size_t>(bytes - offset_)));
      if (n == 0) return CutOrReplaced(offset_, position.next_offset);
      offset_ += static_cast<int64_t>(n);
    }
    if (bytes > 0) *before = head_.back();
    if (position.beginning.has_value() && position.beginning != beginning()) {
      return Refused(
          fmt::format("begins with something else than when {} bytes of it were read: it was cut "
                      "or replaced",
                      position.next_offset));
    }
    return absl::OkStatus();
  }

  // Whether one that was read to its end is still as long as it was. A longer compressed one is
  // seen where it is short: nobody appends to those, and it would have to be unpacked.
  bool StillEnds(int64_t offset) {
    if (stream_->size() >= 0) return stream_->size() == offset;
    if (offset_ < offset) return true;
    return Fill().ok() && at_end_;  // or Next meets it again
  }

  // From the beginning to `offset`; `before` is the last byte in front of it.
  absl::Status Enter(int64_t offset, char* before) {
    if (offset_ == offset) return absl::OkStatus();
    BONGSU_ASSIGN_OR_RETURN(const int64_t skipped, stream_->Skip(offset - 1 - offset_));
    offset_ += skipped;
    if (offset_ < offset - 1) return CutOrReplaced(offset_, offset);
    BONGSU_ASSIGN_OR_RETURN(const size_t n, stream_->Read(before, 1));
    if (n == 0) return CutOrReplaced(offset_, offset);
    ++offset_;
    return absl::OkStatus();
  }

  // The last line had no end and was read as it was: what follows it now must not belong to it.
  absl::Status CheckLineEnded() {
    constexpr std::string_view kEnd = "\r\n";
    const bool is_mark =
        offset_ == static_cast<int64_t>(kByteOrderMark.size()) && head_.starts_with(kByteOrderMark);
    if (is_mark) return absl::OkStatus();
    while (!at_end_ && pending_.size() < kEnd.size()) {
      if (!Fill().ok()) return absl::OkStatus();  // Next meets it again
    }
    const std::string_view more = pending_.view().substr(0, kEnd.size());
    if (more.starts_with('\n') || kEnd.starts_with(more)) return absl::OkStatus();
    return Refused(
        fmt::format("was read to its end, {} bytes, and the line there, which had no newline, was "
                    "continued since: its first part was taken for a record",
                    offset_));
  }

  // Editors and shells of Windows begin a file with one; to JSON it is an error.
  absl::Status SkipByteOrderMark() {
    while (!at_end_ && pending_.size() < kByteOrderMark.size() &&
           kByteOrderMark.starts_with(pending_.view())) {
      if (!Fill().ok()) return absl::OkStatus();  // Next meets it again
    }
    if (!pending_.view().starts_with(kByteOrderMark)) return absl::OkStatus();
    pending_.DropFront(kByteOrderMark.size());
    offset_ = static_cast<int64_t>(kByteOrderMark.size());
    return absl::OkStatus();
  }

  absl::Status Fill() {
    if (!broken_.ok()) return broken_;
    char* to = pending_.Grow(kReadBytes);
    absl::StatusOr<size_t> n = stream_->Read(to, kReadBytes);
    if (!n.ok()) return broken_ = n.status();
    if (!beginning_.has_value()) head_.append(to, std::min(*n, kBeginningBytes - head_.size()));
    pending_.Extend(*n);
    at_end_ = *n == 0;
    return absl::OkStatus();
  }

  void Add(size_t begin, size_t end, Chunk* chunk) {
    const std::string_view line = pending_.view().substr(begin, end - begin);
    if (IsBlank(line)) return;
    Record record;
    record.bytes = line;  // for its size; moved to the chunk's own bytes later
    record.partition = partition_;
    record.offset = offset_ + static_cast<int64_t>(begin);
    chunk->records.emplace_back(begin, record);
  }

  void AddLong(std::string_view line, Chunk* chunk) {
    chunk->bytes.Append(line.substr(0, record_bytes_max_ + 1));
    Record record;
    record.bytes = chunk->bytes.view();
    record.partition = partition_;
    record.offset = offset_;
    chunk->records.emplace_back(0, record);
  }

  // A line longer than any that will be decoded: its beginning is kept, the rest is read over.
  absl::Status SkipLong(Chunk* chunk) {
    AddLong(pending_.view(), chunk);
    while (true) {
      const size_t end = pending_.view().find('\n');
      const size_t read = end == std::string::npos ? pending_.size() : end + 1;
      offset_ += static_cast<int64_t>(read);
      pending_.DropFront(read);
      if (end != std::string::npos) return absl::OkStatus();
      BONGSU_RETURN_IF_ERROR(Fill());
      chunk->last = at_end_;
      if (at_end_) return absl::OkStatus();
    }
  }

  const PartitionId partition_;
  const std::string path_;
  const size_t record_bytes_max_;
  size_t chunk_bytes_ = kChunkBytesMax;
  std::unique_ptr<ByteStream> stream_;
  const std::shared_ptr<BufferPool> pool_;
  ReadBuffer pending_;  // bytes from offset_ on
  int64_t offset_ = 0;
  std::string head_;                   // the first bytes of the content, until they are hashed
  std::optional<uint64_t> beginning_;  // the hash of all of them
  bool at_end_ = false;
  absl::Status broken_;   // of the stream
  absl::Status failure_;  // broken_, once everything before it was handed out
};

class FileSource : public RecordSource {
 public:
  explicit FileSource(const Config& config) : config_(config) {}

  absl::Status Open(PartitionTable& partitions) override;
  absl::Status CheckStart(const std::vector<Position>& positions) override {
    return Start(positions);  // it only reads
  }
  absl::Status Start(const std::vector<Position>& positions) override;
  absl::Status Poll(DurationNs wait, Batch* batch) override;
  bool finished() const override { return open_ == 0; }
  std::vector<Position> positions() const override;
  absl::Status Committed(const std::vector<Position>&) override { return absl::OkStatus(); }
  absl::Status SetBackpressure(bool on) override {
    paused_ = on;
    return absl::OkStatus();
  }
  absl::Status Close() override { return absl::OkStatus(); }

 private:
  struct Entry {
    size_t source = 0;
    Position position;
    std::unique_ptr<File> file;
    std::unique_ptr<Chunk> next;
  };
  absl::Status CheckFound(const std::vector<Position>& positions) const;
  absl::Status Prepare(Entry& entry);
  EventTimeNs Head(size_t source, const Chunk& chunk);

  const Config& config_;
  const PartitionTable* partitions_ = nullptr;
  const FieldTable no_fields_;
  std::vector<std::unique_ptr<Decoder>> clocks_;  // by source: reads event times only
  const std::shared_ptr<BufferPool> pool_ = std::make_shared<BufferPool>();
  std::vector<Entry> entries_;
  size_t open_ = 0;
  bool paused_ = false;
  absl::Status failure_;
};

absl::Status FileSource::Open(PartitionTable& partitions) {
  partitions_ = &partitions;
  std::string failures;
  const auto fail = [&](std::string_view message) {
    if (!failures.empty()) failures += "\n";
    failures += message;
  };
  for (size_t i = 0; i < config_.sources.size(); ++i) {
    const SourceConfig& source = config_.sources[i];
    DecoderOptions options;
    options.record_bytes_max = source.record_bytes_max;
    options.depth_max = source.depth_max;
    clocks_.push_back(std::make_unique<Decoder>(source.format, no_fields_, options));
    for (const std::string& pattern : source.files) {
      glob_t found{};
      const int result = glob(pattern.c_str(), GLOB_MARK, nullptr, &found);
      if (result == GLOB_NOMATCH)
        fail(fmt::format("source '{}': no file matches {}", source.name, pattern));
      else if (result != 0)
        fail(fmt::format("source '{}': cannot look for {}", source.name, pattern));
      for (size_t j = 0; result == 0 && j < found.gl_pathc; ++j) {
        const std::string path = found.gl_pathv[j];
        if (path.back() == '/') {
          fail(fmt::format("source '{}': {} is a folder, not a file", source.name, path));
          continue;
        }
        if (!IsValidUtf8(path)) {
          // Positions name files as text: the file would be read anew after each restart.
          fail(fmt::format("source '{}': the name of '{}' is not UTF-8: rename the file",
                           source.name, path));
          continue;
        }
        if (auto stream = OpenByteStream(path); !stream.ok()) {
          fail(fmt::format("source '{}': {}", source.name, std::string(stream.status().message())));
          continue;
        }
        PartitionInfo info;
        info.source = source.name;
        info.source_index = static_cast<uint16_t>(i);
        info.path = path;
        info.identity = source.name + std::string(1, '\0') + path;
        BONGSU_ASSIGN_OR_RETURN(const PartitionId id, partitions.Add(std::move(info)));
        const bool twice = std::any_of(entries_.begin(), entries_.end(), [&](const Entry& entry) {
          return entry.position.partition == id;
        });
        if (twice) continue;  // two patterns of one source name it
        Entry& entry = entries_.emplace_back();
        entry.source = i;
        entry.position.partition = id;
        entry.file =
            std::make_unique<File>(id, path, static_cast<size_t>(source.record_bytes_max), pool_);
      }
      globfree(&found);
    }
  }
  return failures.empty() ? absl::OkStatus() : absl::NotFoundError(failures);
}

// A file that was read in part: what is left of it would be lost, or read from its beginning under
// another name.
absl::Status FileSource::CheckFound(const std::vector<Position>& positions) const {
  std::vector<bool> found(partitions_->size(), false);
  for (const Entry& entry : entries_) found[entry.position.partition] = true;
  std::string failures;
  for (const Position& position : positions) {
    if (position.ended || position.next_offset <= 0) continue;
    if (!partitions_->Knows(position.partition) || found[position.partition]) continue;
    const PartitionInfo& info = partitions_->Get(position.partition);
    const bool ours = std::any_of(config_.sources.begin(), config_.sources.end(),
                                  [&](const SourceConfig& source) {
                                    return source.name == info.source && !source.files.empty();
                                  });
    if (!ours || !info.topic.empty()) continue;
    if (!failures.empty()) failures += "\n";
    failures += fmt::format(
        "source '{}': {} had been read up to byte {}, not to its end, and is not among its files "
        "now: it was moved or renamed, or 'files' leaves it out; put it back under this name, or "
        "give the new run its own state.path and outputs",
        info.source, info.path, position.next_offset);
  }
  return failures.empty() ? absl::OkStatus() : absl::FailedPreconditionError(failures);
}

absl::Status FileSource::Start(const std::vector<Position>& positions) {
  BONGSU_RETURN_IF_ERROR(CheckFound(positions));
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);  // best effort: opening says what failed
  }
  const size_t chunk_bytes = std::clamp(kAllChunksBytesMax / std::max<size_t>(entries_.size(), 1),
                                        kChunkBytesMin, kChunkBytesMax);
  open_ = 0;  // a start that failed is tried again
  for (Entry& entry : entries_) {
    for (const Position& position : positions) {
      if (position.partition == entry.position.partition) entry.position = position;
    }
    BONGSU_ASSIGN_OR_RETURN(const bool reads, entry.file->Start(entry.position, chunk_bytes));
    // Positions of before have none.
    if (entry.position.next_offset > 0) entry.position.beginning = entry.file->beginning();
    if (!reads) continue;
    // What was appended must not be passed over in silence: the engine decides whether it can
    // still take part.
    entry.position.ended = false;
    BONGSU_RETURN_IF_ERROR(Prepare(entry));
    ++open_;
  }
  return absl::OkStatus();
}

absl::Status FileSource::Prepare(Entry& entry) {
  BONGSU_RETURN_IF_ERROR(entry.file->Next(&entry.next));
  Chunk& chunk = *entry.next;
  size_t slack = chunk.bytes.size();
  for (auto& [at, record] : chunk.records) {
    record.bytes = chunk.bytes.view().substr(at, record.bytes.size());
    record.slack =
        static_cast<uint32_t>(std::min<size_t>(slack - at - record.bytes.size(), 1 << 20));
  }
  chunk.head = Head(entry.source, chunk);
  return absl::OkStatus();
}

EventTimeNs FileSource::Head(size_t source, const Chunk& chunk) {
  int lines = 0;
  for (const auto& [at, record] : chunk.records) {
    Event event;
    if (clocks_[source]->Decode(record, &event) == DecodeResult::kOk && event.has_time)
      return event.time;
    if (++lines >= kHeadLinesMax) break;
  }
  return kMinEventTime;
}

absl::Status FileSource::Poll(DurationNs, Batch* batch) {
  if (!failure_.ok()) return failure_;
  if (paused_) return absl::OkStatus();
  Entry* lowest = nullptr;
  for (Entry& entry : entries_) {
    if (entry.next == nullptr) continue;
    if (lowest == nullptr || entry.next->head < lowest->next->head) lowest = &entry;
  }
  if (lowest == nullptr) return absl::OkStatus();
  std::unique_ptr<Chunk> chunk = std::move(lowest->next);
  batch->records.reserve(batch->records.size() + chunk->records.size());
  for (const auto& [at, record] : chunk->records) batch->records.push_back(record);
  lowest->position.next_offset = chunk->next_offset;
  lowest->position.beginning = chunk->beginning;
  const bool last = chunk->last;
  batch->holder = std::move(chunk);
  if (!lowest->file->failure().ok()) {
    // Its records up to the damage are in this batch; it does not count as read to its end.
    failure_ = lowest->file->failure();
    --open_;
    return failure_;
  }
  if (last) {
    lowest->position.ended = true;
    batch->marks.push_back({PartitionMark::Kind::kEnded, lowest->position.partition, 0});
    lowest->file.reset();
    --open_;
    return absl::OkStatus();
  }
  return Prepare(*lowest);
}

std::vector<Position> FileSource::positions() const {
  std::vector<Position> positions;
  for (const Entry& entry : entries_) positions.push_back(entry.position);
  return positions;
}

}  // namespace

std::unique_ptr<RecordSource> MakeFileSource(const Config& config) {
  return std::make_unique<FileSource>(config);
}

}  // namespace bongsu
