#include "pipeline/node_json.h"

#include "pipeline/json_text.h"

namespace bongsu {

void AppendNodeJson(const Node& node, std::string* out) {
  switch (node.kind) {
    case NodeKind::kNull:
      out->append("null");
      return;
    case NodeKind::kScalar: {
      const std::string& text = node.scalar;
      const bool literal =
          !node.quoted && (text == "true" || text == "false" || IsJsonNumber(text));
      if (literal) {
        out->append(text);
      } else {
        AppendJsonString(text, out);
      }
      return;
    }
    case NodeKind::kSequence:
      out->push_back('[');
      for (size_t i = 0; i < node.items.size(); ++i) {
        if (i > 0) out->push_back(',');
        AppendNodeJson(node.items[i], out);
      }
      out->push_back(']');
      return;
    case NodeKind::kMap:
      out->push_back('{');
      for (size_t i = 0; i < node.entries.size(); ++i) {
        if (i > 0) out->push_back(',');
        AppendJsonString(node.entries[i].first.scalar, out);
        out->push_back(':');
        AppendNodeJson(node.entries[i].second, out);
      }
      out->push_back('}');
      return;
  }
}

}  // namespace bongsu
