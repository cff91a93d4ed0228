// File: operators/handle_names.h
//
// What an operator calls the lists and value maps of its state. A row of the state knows its handle
// by number only, counted from 1 in the order of opening, and which of them an operator opens is
// its own affair: who reads the rows of another process's state asks here.
//
//   ASSIGN_OR_RETURN(const std::vector<std::string> names, HandleNames(spec));
//   const std::string& list = names[row.handle - 1];  // "events"
//
// The operator is opened over a state that is empty and keeps nothing. The one handle behind its
// own, of OperatorRunner, is not among them.
//
// Thread-safety: pure function. Errors: those of Operator::Open.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "operators/operator.h"

namespace bongsu {

absl::StatusOr<std::vector<std::string>> HandleNames(const OperatorSpec& spec);

}  // namespace bongsu
