// File: pipeline/builtin_formats.h
//
// The texts of pipeline/formats/*.yaml, which CMake writes into a source file of the build (see
// pipeline/CMakeLists.txt), so that the binary needs no data files. Read them through
// FindBuiltinFormat. Constant data, for any thread.
#pragma once

#include <span>
#include <string_view>

namespace bongsu {

struct BuiltinFormatText {
  std::string_view name;  // of the file, without .yaml
  std::string_view yaml;
};

std::span<const BuiltinFormatText> BuiltinFormatTexts();

}  // namespace bongsu
