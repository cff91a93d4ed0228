// File: tests/operators/sigma_oracle.h
//
// A second evaluator of Sigma detections, to compare the engine's with: written from the text of
// the specification and the decisions in operators/sigma/README.md, without the engine's code, and
// without a thought for speed. Permutations are made, wildcards are tried by recursion over code
// points, addresses and times are the C library's.
//
//   Oracle oracle(detection_node);                     // a legal one
//   bool met = oracle.Matches([&](const std::string& field) -> Value { ... });
//
// Thread-safety: one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "operators/config/node.h"
#include "operators/event.h"

namespace bongsu {

class Oracle {
 public:
  using Fields = std::function<Value(const std::string&)>;
  using Test = std::function<bool(const Fields&)>;

  explicit Oracle(const Node& detection);
  bool Matches(const Fields& fields) const { return test_(fields); }

 private:
  Test test_;
};

}  // namespace bongsu
