// The Sigma specification's own documents (BONGSU_SHARED): those of its schema tests load, and so
// do the detections that its pages show, but for the one that is shown as a mistake.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "operators/sigma/placeholders.h"
#include "operators/sigma/rule.h"
#include "operators/sigma/selection.h"

namespace bongsu::sigma {
namespace {

namespace fs = std::filesystem;

std::string TextOf(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

class SigmaSpecification : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* shared = std::getenv("BONGSU_SHARED");
    if (shared == nullptr)
      GTEST_SKIP() << "BONGSU_SHARED is not set: the specification is not there";
    folder_ = fs::temp_directory_path() / ("bongsu-specification-" + std::to_string(getpid()));
    fs::create_directories(folder_);
    const std::string command = "zstd -dc '" + std::string(shared) +
                                "/reference/sigma-specification.tar.zst' | tar -xf - -C '" +
                                folder_.string() + "'";
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }
  fs::path folder_;
};

TEST_F(SigmaSpecification, DocumentsOfTheSchemaTestsLoad) {
  size_t documents = 0;
  for (const auto& entry : fs::recursive_directory_iterator(folder_ / "tests" / "schema")) {
    if (entry.path().extension() != ".yml") continue;
    Diagnostics diagnostics;
    for (const Node& document :
         ParseYaml(TextOf(entry.path()), entry.path().string(), YamlLimits{}, diagnostics)) {
      const auto rule = ParseRule(document, diagnostics);
      ASSERT_TRUE(rule) << diagnostics.Text();
      ++documents;
      if (rule->kind() == RuleKind::kCorrelation) continue;
      const bool filter = rule->kind() == RuleKind::kFilter;
      FieldTable fields;
      EXPECT_NE(CompileSelection(filter ? rule->filter().detection : rule->detection().detection,
                                 fields, diagnostics),
                nullptr)
          << diagnostics.Text();
    }
  }
  EXPECT_EQ(documents, 12);
}

// The blocks of a page that are YAML.
std::vector<std::string> Blocks(const std::string& page) {
  std::vector<std::string> blocks;
  for (size_t at = 0; (at = page.find("```y", at)) != std::string::npos;) {
    const size_t begin = page.find('\n', at) + 1;
    const size_t end = page.find("```", begin);
    if (end == std::string::npos) break;
    blocks.push_back(page.substr(begin, end - begin));
    at = end + 3;
  }
  return blocks;
}

TEST_F(SigmaSpecification, DetectionsOfItsPagesCompile) {
  size_t compiled = 0;
  std::vector<std::string> refused;
  for (const auto& entry : fs::directory_iterator(folder_ / "specification")) {
    for (const std::string& block : Blocks(TextOf(entry.path()))) {
      Diagnostics unread;  // a few blocks are patterns of documents, not documents
      for (Node& document : ParseYaml(block, entry.path().string(), YamlLimits{}, unread)) {
        if (!document.is_map() || document.Find("detection") == nullptr) continue;
        Node detection = *document.Find("detection");
        if (!detection.is_map() || detection.Find("condition") == nullptr) continue;
        Diagnostics diagnostics;
        FieldTable fields;
        ExpandPlaceholders({{"Administrators", {"admin"}}}, &detection, diagnostics);
        if (CompileSelection(detection, fields, diagnostics) != nullptr) {
          ++compiled;
        } else {
          refused.push_back(diagnostics.Text() + "\n" + block);
        }
      }
    }
  }
  EXPECT_GE(compiled, 8);
  ASSERT_EQ(refused.size(), 1) << refused[0] << (refused.size() > 1 ? refused[1] : "");
  EXPECT_NE(refused[0].find("null is not allowed in a list"), std::string::npos) << refused[0];
}

}  // namespace
}  // namespace bongsu::sigma
