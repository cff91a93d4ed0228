// File: pipeline/logging.h
//
// Logs go to standard error, as text or as JSON lines. Libraries' logs come through here too.
//
//   SetUpLogging({.json = true, .level = "info"});
//   LogInfo("waiting for the group's other member");
//
// Never log a secret or a record's content.
//
// Thread-safety: SetUpLogging once, before threads; the rest from any thread.
#pragma once

#include <string>
#include <string_view>

namespace bongsu {

struct LoggingOptions {
  bool json = false;
  std::string level = "info";  // debug, info, warning, error
};
void SetUpLogging(const LoggingOptions& options);

void LogDebug(std::string_view message);
void LogInfo(std::string_view message);
void LogWarning(std::string_view message);
void LogError(std::string_view message);
// A text of several lines for whoever sees the program run, as it stands; where logs are JSON, each
// of its lines is one, by `log`.
void LogText(std::string_view text, void (*log)(std::string_view));

}  // namespace bongsu
