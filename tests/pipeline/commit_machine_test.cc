// Every question that can be put to the decision table, and every transition.
#include "pipeline/commit_machine.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace bongsu {
namespace {

// The table as it is meant, written down a second time: step -> one letter for each Seen, in order.
//   g go on, n go on renewed, r retry, R recover, F stop fenced, X stop failed
const std::map<CommitStep, std::string>& Expected() {
  //                 ok resent retriable timed_out abortable membership stale fenced refused fatal
  static const std::map<CommitStep, std::string> table = {
      {CommitStep::kInit, "gnrrRRRFXR"},        {CommitStep::kBegin, "gnRRRRRFXR"},
      {CommitStep::kProduce, "gnrRRRRFXR"},     {CommitStep::kAuthorize, "gnrRRRRFXR"},
      {CommitStep::kSendOffsets, "gnrRRRRFXR"}, {CommitStep::kCommit, "gnrRRRRFXR"},
  };
  return table;
}

char Letter(Action action) {
  switch (action) {
    case Action::kGoOn:
      return 'g';
    case Action::kGoOnRenewed:
      return 'n';
    case Action::kRetry:
      return 'r';
    case Action::kRecover:
      return 'R';
    case Action::kStopFenced:
      return 'F';
    case Action::kStopFailed:
      return 'X';
  }
  return '?';
}

TEST(CommitMachineTest, EveryPairOfStepAndSightHasItsAction) {
  ASSERT_EQ(Expected().size(), static_cast<size_t>(kCommitSteps));
  for (const auto& [step, letters] : Expected()) {
    ASSERT_EQ(letters.size(), static_cast<size_t>(kSeens));
    for (int seen = 0; seen < kSeens; ++seen) {
      EXPECT_EQ(Letter(Decide(step, static_cast<Seen>(seen))), letters[static_cast<size_t>(seen)])
          << CommitStepName(step) << " x " << SeenName(static_cast<Seen>(seen));
    }
  }
}

TEST(CommitMachineTest, NothingButAPlainSuccessGoesOnToTheStore) {
  for (int step = 0; step < kCommitSteps; ++step) {
    for (int seen = 0; seen < kSeens; ++seen) {
      const Action action = Decide(static_cast<CommitStep>(step), static_cast<Seen>(seen));
      const bool success =
          static_cast<Seen>(seen) == Seen::kOk || static_cast<Seen>(seen) == Seen::kResent;
      EXPECT_EQ(action == Action::kGoOn || action == Action::kGoOnRenewed, success);
    }
  }
}

TEST(CommitMachineTest, OnlyTheDrawnTransitionsAreLegal) {
  using S = EpochState;
  const std::set<std::pair<S, S>> legal = {
      {S::kIdle, S::kOpen},          {S::kOpen, S::kSealed},
      {S::kSealed, S::kAuthorized},  {S::kAuthorized, S::kCommitted},
      {S::kCommitted, S::kIdle},     {S::kIdle, S::kDropped},
      {S::kOpen, S::kDropped},       {S::kSealed, S::kDropped},
      {S::kAuthorized, S::kDropped}, {S::kDropped, S::kIdle},
  };
  const std::vector<S> all = {S::kIdle,       S::kOpen,      S::kSealed,
                              S::kAuthorized, S::kCommitted, S::kDropped};
  for (S from : all) {
    for (S to : all) {
      const bool expected =
          legal.count({from, to}) > 0 || (from == S::kDropped && to == S::kDropped);
      EXPECT_EQ(CommitMachine::Legal(from, to), expected)
          << EpochStateName(from) << " -> " << EpochStateName(to);
    }
  }
}

TEST(CommitMachineTest, AnEpochGoesRound) {
  CommitMachine machine;
  machine.MoveTo(EpochState::kOpen);
  EXPECT_EQ(machine.On(CommitStep::kProduce, Seen::kOk), Action::kGoOn);
  machine.MoveTo(EpochState::kSealed);
  machine.MoveTo(EpochState::kAuthorized);
  EXPECT_EQ(machine.On(CommitStep::kCommit, Seen::kOk), Action::kGoOn);
  machine.MoveTo(EpochState::kCommitted);
  machine.MoveTo(EpochState::kIdle);
  EXPECT_FALSE(machine.renew());
}

TEST(CommitMachineTest, ARequestSentTwiceIsTheProducersLast) {
  CommitMachine machine;
  machine.MoveTo(EpochState::kOpen);
  machine.MoveTo(EpochState::kSealed);
  machine.MoveTo(EpochState::kAuthorized);
  EXPECT_EQ(machine.On(CommitStep::kCommit, Seen::kResent), Action::kGoOnRenewed);
  machine.MoveTo(EpochState::kCommitted);
  machine.MoveTo(EpochState::kIdle);
  EXPECT_TRUE(machine.renew());
  machine.Renewed();
  EXPECT_FALSE(machine.renew());
}

TEST(CommitMachineTest, AnythingElseDropsTheEpochAndTheProducer) {
  for (int step = 0; step < kCommitSteps; ++step) {
    for (Seen seen : {Seen::kAbortable, Seen::kMembershipLost, Seen::kEpochStale, Seen::kFatal,
                      Seen::kFenced, Seen::kRefused}) {
      CommitMachine machine;
      machine.MoveTo(EpochState::kOpen);
      machine.On(static_cast<CommitStep>(step), seen);
      EXPECT_EQ(machine.state(), EpochState::kDropped);
      EXPECT_TRUE(machine.renew());
    }
  }
}

TEST(CommitMachineDeathTest, CommittingWithoutAuthorisationCrashes) {
  CommitMachine machine;
  machine.MoveTo(EpochState::kOpen);
  machine.MoveTo(EpochState::kSealed);
  EXPECT_DEATH(machine.MoveTo(EpochState::kCommitted), "illegal transition");
}

// An instance that has nothing to commit for weeks recovers now and then all the same.
TEST(RecoveryPaceTest, OnlyRecoveriesThatFollowOnEachOtherAreInARow) {
  RecoveryPace standby;
  for (int64_t i = 1; i <= 100; ++i) EXPECT_TRUE(standby.Again(i * kHourNs, /*committed=*/false));
  EXPECT_EQ(standby.pause(), 0);
  RecoveryPace commits;
  for (int64_t i = 1; i <= 100; ++i) EXPECT_TRUE(commits.Again(i * kSecondNs, /*committed=*/true));
  RecoveryPace stuck;
  DurationNs before = 0;
  for (int64_t i = 1; i <= kRecoveriesMax; ++i) {
    EXPECT_TRUE(stuck.Again(i * kSecondNs, /*committed=*/false)) << i;
    EXPECT_GE(stuck.pause(), before);
    EXPECT_EQ(stuck.pause() > 0, i > 1);
    before = stuck.pause();
  }
  EXPECT_EQ(before, 2 * kSecondNs);
  EXPECT_FALSE(stuck.Again((kRecoveriesMax + 1) * kSecondNs, /*committed=*/false));
}

}  // namespace
}  // namespace bongsu
