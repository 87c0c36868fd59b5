#include "windlass/tools/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace windlass {
namespace {

constexpr int kGap = 2;

// What a column is not made narrower than.
constexpr int kLeastWidth = 12;

constexpr char kEllipsis[] = "…";

bool IsContinuation(char byte) { return (byte & 0xC0) == 0x80; }

// Characters of UTF-8.
int WidthOf(absl::string_view text) {
  return static_cast<int>(
      std::count_if(text.begin(), text.end(),
                    [](char byte) { return !IsContinuation(byte); }));
}

// Where character `i` begins.
size_t OffsetOf(absl::string_view text, int i) {
  size_t at = 0;
  for (; at < text.size(); ++at) {
    if (!IsContinuation(text[at]) && i-- == 0) break;
  }
  return at;
}

const char* CodeOf(Style style) {
  switch (style) {
    case Style::kPlain:
      return "";
    case Style::kBold:
      return "\033[1m";
    case Style::kFaint:
      return "\033[2m";
    case Style::kRed:
      return "\033[31m";
    case Style::kGreen:
      return "\033[32m";
    case Style::kYellow:
      return "\033[33m";
  }
  return "";
}

}  // namespace

Terminal StdoutTerminal() {
  Terminal terminal;
  if (!::isatty(STDOUT_FILENO)) return terminal;
  struct winsize size;
  const bool is_known =
      ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  terminal.width = is_known ? size.ws_col : 80;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  terminal.colour = (no_color == nullptr || *no_color == '\0') &&
                    (term == nullptr || term != absl::string_view("dumb"));
  return terminal;
}

std::string Styled(absl::string_view text, Style style,
                   const Terminal& terminal) {
  if (!terminal.colour || style == Style::kPlain) return std::string(text);
  return absl::StrCat(CodeOf(style), text, "\033[0m");
}

std::string Shorten(absl::string_view text, int width) {
  const int whole = WidthOf(text);
  if (whole <= width) return std::string(text);
  // The end of a tensor's name tells more than its beginning.
  const int left = (width - 1) / 3;
  const int right = width - 1 - left;
  return absl::StrCat(text.substr(0, OffsetOf(text, left)), kEllipsis,
                      text.substr(OffsetOf(text, whole - right)));
}

void Table::AddRow(std::vector<std::string> cells, Style style) {
  rows_.push_back({std::move(cells), style});
}

std::vector<int> Table::Widths(const Terminal& terminal) const {
  std::vector<int> widths;
  int total = kGap * (static_cast<int>(columns_.size()) - 1);
  for (size_t i = 0; i < columns_.size(); ++i) {
    int width = WidthOf(columns_[i].title);
    for (const Row& row : rows_) width = std::max(width, WidthOf(row.cells[i]));
    widths.push_back(width);
    total += width;
  }
  while (terminal.width > 0 && total > terminal.width) {
    const auto widest = std::max_element(widths.begin(), widths.end());
    if (*widest <= kLeastWidth) break;
    --*widest;
    --total;
  }
  return widths;
}

std::string Table::Render(const Terminal& terminal) const {
  const std::vector<int> widths = Widths(terminal);
  std::string out;
  const auto add_line = [&](const auto& text_of, Style style) {
    std::string line;
    for (size_t i = 0; i < columns_.size(); ++i) {
      const std::string text = Shorten(text_of(i), widths[i]);
      const int padding = widths[i] - WidthOf(text);
      if (i > 0) line.append(kGap, ' ');
      if (columns_[i].right) line.append(padding, ' ');
      line.append(text);
      if (!columns_[i].right) line.append(padding, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&out, Styled(line, style, terminal), "\n");
  };
  add_line([&](size_t i) { return columns_[i].title; }, Style::kBold);
  for (const Row& row : rows_) {
    add_line([&](size_t i) -> const std::string& { return row.cells[i]; },
             row.style);
  }
  return out;
}

std::string FormatCount(int64_t count) {
  std::string text = absl::StrCat(count);
  for (int at = static_cast<int>(text.size()) - 3;
       at > 0 && text[at - 1] != '-'; at -= 3) {
    text.insert(at, ",");
  }
  return text;
}

std::string FormatQuantity(int64_t count) {
  static constexpr const char* kUnits[] = {"", " k", " M", " B", " T"};
  double value = count;
  int unit = 0;
  // What would be rounded to 1000.00 is one of the next unit.
  while (value >= 999.995 && unit < 4) {
    value /= 1000;
    ++unit;
  }
  if (unit == 0) return absl::StrCat(count);
  return absl::StrFormat("%.2f%s", value, kUnits[unit]);
}

std::string FormatNumber(double number) {
  return absl::StrFormat("%.4g", number);
}

}  // namespace windlass
