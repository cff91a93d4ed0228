// ocsf_check FILE...: validates every line of alert files against the OCSF schema below
// BONGSU_SHARED (or the one that OCSF_SCHEMA names). Exit status 0: all valid; 1: not; 2: no schema
// or unreadable file.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <string>

#include "tests/conformance/ocsf_validator.h"

int main(int argc, char** argv) {
  using bongsu::testing::OcsfSchema;
  const char* given = std::getenv("OCSF_SCHEMA");
  const std::string path = given != nullptr ? given : bongsu::testing::SharedOcsfSchemaPath();
  if (argc < 2 || path.empty()) {
    std::fputs("usage: BONGSU_SHARED=DIR ocsf_check FILE...\n", stderr);
    return 2;
  }
  const auto schema = OcsfSchema::Load(path);
  if (!schema.ok()) {
    std::fprintf(stderr, "%s\n", std::string(schema.status().message()).c_str());
    return 2;
  }
  long lines = 0;
  long bad = 0;
  for (int i = 1; i < argc; ++i) {
    std::ifstream in(argv[i]);
    if (!in) {
      std::fprintf(stderr, "cannot read %s\n", argv[i]);
      return 2;
    }
    std::string line;
    for (long number = 1; std::getline(in, line); ++number, ++lines) {
      const auto problems = schema->Validate(line);
      for (const std::string& problem : problems) {
        std::printf("%s:%ld: %s\n", argv[i], number, problem.c_str());
      }
      if (!problems.empty()) ++bad;
    }
  }
  std::printf("%ld alerts checked against OCSF %s: %ld invalid\n", lines, schema->version().c_str(),
              bad);
  return bad == 0 ? 0 : 1;
}
