// File: operators/sigma/rule_collection.h
//
// Sigma's old collections: documents with an `action` that are parts of the documents around them.
//
//   documents = ExpandCollection(std::move(documents), diagnostics);
//
// Thread-safety: a pure function.
#pragma once

#include <vector>

#include "operators/config/diagnostics.h"
#include "operators/config/node.h"

namespace bongsu::sigma {

// The rules that the documents of one file stand for: `action: global` is merged into every
// document behind it until the next global or `action: reset`; `action: repeat` makes another rule
// of the document before with this one merged into it. Of keys that both have, maps are merged and
// anything else is replaced; the global document wins over the others.
std::vector<Node> ExpandCollection(std::vector<Node> documents, Diagnostics& diagnostics);

}  // namespace bongsu::sigma
