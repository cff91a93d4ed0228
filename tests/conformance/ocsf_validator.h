// File: tests/conformance/ocsf_validator.h
//
// Checks JSON events against the OCSF schema as its authors publish it (the folder of metaschema
// files, or the same as .tar.zst): required attributes are there, no attribute is unknown, types,
// formats and enumerated values are right, captions agree with their numbers, and constraints
// (at_least_one, just_one) hold. An attribute of a profile counts as unknown unless
// metadata.profiles names it.
//
//   absl::StatusOr<OcsfSchema> schema = OcsfSchema::Load("reference/ocsf-schema.tar.zst");
//   for (const std::string& problem : schema->Validate(line)) ADD_FAILURE() << problem;
//
// Thread-safety: const after loading.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"

namespace bongsu::testing {

class OcsfSchema {
 public:
  // `path`: the schema's folder, or an archive of it (.tar.zst).
  static absl::StatusOr<OcsfSchema> Load(const std::string& path);
  ~OcsfSchema();
  OcsfSchema(OcsfSchema&&) noexcept;

  const std::string& version() const;
  // What is wrong with the event, one sentence each with the attribute's path; empty: nothing.
  std::vector<std::string> Validate(std::string_view event_json) const;

 private:
  struct Impl;
  explicit OcsfSchema(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// The schema below BONGSU_SHARED, or empty where that is not set.
std::string SharedOcsfSchemaPath();

}  // namespace bongsu::testing
