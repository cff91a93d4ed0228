// The SigmaHQ rule corpus (BONGSU_SHARED): every active rule loads; those with placeholders load
// once the configuration gives them values.
#include <gtest/gtest.h>

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "operators/sigma/rule_set.h"

namespace bongsu::sigma {
namespace {

namespace fs = std::filesystem;

constexpr size_t kCorpusRules = 3'780;

class SigmaCorpus : public ::testing::Test {
 protected:
  void SetUp() override {
    const char* shared = std::getenv("BONGSU_SHARED");
    if (shared == nullptr) GTEST_SKIP() << "BONGSU_SHARED is not set: the rule corpus is not there";
    folder_ = fs::temp_directory_path() / ("bongsu-corpus-" + std::to_string(getpid()));
    fs::create_directories(folder_);
    const std::string command = "zstd -dc '" + std::string(shared) +
                                "/data/sigma-rules.tar.zst' | tar -xf - -C '" + folder_.string() +
                                "'";
    ASSERT_EQ(std::system(command.c_str()), 0);
  }
  void TearDown() override {
    if (!folder_.empty()) fs::remove_all(folder_);
  }
  fs::path folder_;
};

// All that the corpus uses; an address range is a value that every modifier there accepts.
Placeholders AllPlaceholders() {
  Placeholders all;
  for (const char* name : {"Administrators",
                           "Admins_Workstations",
                           "ApprovedUserUpn",
                           "Approved_Inviters",
                           "DC-MACHINE-NAME",
                           "DomainControllers",
                           "HomeTenantID",
                           "Important_AppIds",
                           "KNOWN_LOCATION",
                           "Known_Location",
                           "Legitimate_Countries",
                           "Legitimate_IP_Ranges",
                           "ServerSystems",
                           "UnApprovedDevice",
                           "UnApprovedIp",
                           "UnLegitCountries",
                           "Workstations",
                           "dc_ip_addresses",
                           "dc_machine_accounts",
                           "domain_controller_hostnames",
                           "internal_domains",
                           "known_cdcs",
                           "legit_ips",
                           "legtimate_identifiers",
                           "userdomain"})
    all[name] = {"10.0.0.0/8"};
  return all;
}

TEST_F(SigmaCorpus, EveryRuleLoads) {
  RuleSetOptions options;
  options.placeholders = AllPlaceholders();
  Diagnostics diagnostics;
  const RuleSet set = LoadRuleSet({folder_.string()}, options, diagnostics);
  EXPECT_EQ(set.Count(RuleKind::kDetection), kCorpusRules);
  EXPECT_FALSE(diagnostics.has_errors());
  for (const SkippedRule& skipped : set.skipped)
    ADD_FAILURE() << skipped.where.file << ": " << skipped.why;
}

TEST_F(SigmaCorpus, UnresolvedPlaceholdersRefuseTheirRulesOnly) {
  Diagnostics diagnostics;
  const RuleSet set = LoadRuleSet({folder_.string()}, {}, diagnostics);
  EXPECT_FALSE(diagnostics.has_errors());
  EXPECT_EQ(set.entries.size() + set.skipped.size(), kCorpusRules);
  EXPECT_EQ(set.skipped.size(), 25);
  for (const SkippedRule& skipped : set.skipped)
    EXPECT_NE(skipped.why.find("the placeholder"), std::string::npos)
        << skipped.where.file << ": " << skipped.why;
}

}  // namespace
}  // namespace bongsu::sigma
