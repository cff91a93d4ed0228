#include "pipeline/commit_machine.h"

#include <algorithm>

#include "state/check.h"

namespace bongsu {

std::string_view CommitStepName(CommitStep step) {
  switch (step) {
    case CommitStep::kInit:
      return "init_transactions";
    case CommitStep::kBegin:
      return "begin_transaction";
    case CommitStep::kProduce:
      return "produce";
    case CommitStep::kAuthorize:
      return "authorize";
    case CommitStep::kSendOffsets:
      return "send_offsets";
    case CommitStep::kCommit:
      return "commit_transaction";
  }
  return "";
}

std::string_view SeenName(Seen seen) {
  switch (seen) {
    case Seen::kOk:
      return "ok";
    case Seen::kResent:
      return "resent";
    case Seen::kRetriable:
      return "retriable";
    case Seen::kTimedOut:
      return "timed_out";
    case Seen::kAbortable:
      return "abortable";
    case Seen::kMembershipLost:
      return "membership_lost";
    case Seen::kEpochStale:
      return "epoch_stale";
    case Seen::kFenced:
      return "fenced";
    case Seen::kRefused:
      return "refused";
    case Seen::kFatal:
      return "fatal";
  }
  return "";
}

std::string_view ActionName(Action action) {
  switch (action) {
    case Action::kGoOn:
      return "go_on";
    case Action::kGoOnRenewed:
      return "go_on_renewed";
    case Action::kRetry:
      return "retry";
    case Action::kRecover:
      return "recover";
    case Action::kStopFenced:
      return "stop_fenced";
    case Action::kStopFailed:
      return "stop_failed";
  }
  return "";
}

std::string_view EpochStateName(EpochState state) {
  switch (state) {
    case EpochState::kIdle:
      return "idle";
    case EpochState::kOpen:
      return "open";
    case EpochState::kSealed:
      return "sealed";
    case EpochState::kAuthorized:
      return "authorized";
    case EpochState::kCommitted:
      return "committed";
    case EpochState::kDropped:
      return "dropped";
  }
  return "";
}

Action Decide(CommitStep step, Seen seen) {
  switch (seen) {
    case Seen::kOk:
      return Action::kGoOn;
    case Seen::kResent:
      // A copy may still be under way; only a new producer epoch makes it harmless.
      return Action::kGoOnRenewed;
    case Seen::kFenced:
      return Action::kStopFenced;
    case Seen::kRefused:
      return Action::kStopFailed;
    case Seen::kRetriable:
      // While committing, "retriable" still means that the library waits for the answer to the one
      // EndTxn that it has sent: the call is resumed, not repeated.
      return step == CommitStep::kBegin ? Action::kRecover : Action::kRetry;
    case Seen::kTimedOut:
      // Nothing has been promised before init_transactions has returned. Everywhere else an answer
      // that did not come may have been yes.
      return step == CommitStep::kInit ? Action::kRetry : Action::kRecover;
    case Seen::kAbortable:
    case Seen::kMembershipLost:
    case Seen::kEpochStale:
    case Seen::kFatal:
      return Action::kRecover;
  }
  return Action::kRecover;
}

bool CommitMachine::Legal(EpochState from, EpochState to) {
  switch (to) {
    case EpochState::kIdle:
      return from == EpochState::kCommitted || from == EpochState::kDropped;
    case EpochState::kOpen:
      return from == EpochState::kIdle;
    case EpochState::kSealed:
      return from == EpochState::kOpen;
    case EpochState::kAuthorized:
      return from == EpochState::kSealed;
    case EpochState::kCommitted:
      return from == EpochState::kAuthorized;
    case EpochState::kDropped:
      return from != EpochState::kCommitted;  // what is committed stays so
  }
  return false;
}

void CommitMachine::MoveTo(EpochState to) {
  BONGSU_CHECK_MSG(Legal(state_, to), "an epoch made an illegal transition");
  state_ = to;
}

Action CommitMachine::On(CommitStep step, Seen seen) {
  const Action action = Decide(step, seen);
  if (action == Action::kGoOnRenewed) renew_ = true;
  if (action == Action::kRecover || action == Action::kStopFenced ||
      action == Action::kStopFailed) {
    renew_ = true;
    if (state_ != EpochState::kDropped) MoveTo(EpochState::kDropped);
  }
  return action;
}

bool RecoveryPace::Again(int64_t now, bool committed) {
  const bool anew = committed || now - last_ns_ > kMinuteNs;
  in_a_row_ = anew ? 1 : in_a_row_ + 1;
  last_ns_ = now;
  return in_a_row_ <= kRecoveriesMax;
}

DurationNs RecoveryPace::pause() const {
  constexpr DurationNs kFirstNs = 200 * kMillisecondNs;
  return std::min(kFirstNs * (in_a_row_ - 1), 2 * kSecondNs);
}

}  // namespace bongsu
