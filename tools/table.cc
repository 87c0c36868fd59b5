#include "windlass/tools/table.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

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

Table::Table(std::vector<Column> columns) : columns_(std::move(columns)) {
  for (const Column& column : columns_) {
    widest_.push_back(WidthOf(column.title));
  }
}

void Table::AddRow(absl::Span<const std::string> cells, Style style) {
  for (size_t i = 0; i < columns_.size(); ++i) {
    text_.append(cells[i]);
    cells_.push_back({text_.size(), WidthOf(cells[i])});
    widest_[i] = std::max(widest_[i], cells_.back().width);
  }
  rows_.push_back(style);
}

std::vector<int> Table::Widths(const Terminal& terminal) const {
  std::vector<int> widths = widest_;
  int total = kGap * (static_cast<int>(widths.size()) - 1);
  for (int width : widths) total += width;
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
  std::string out, line;
  const auto add_cell = [&](size_t i, absl::string_view text, int width) {
    const int padding = std::max(widths[i] - width, 0);
    if (i > 0) line.append(kGap, ' ');
    if (columns_[i].right) line.append(padding, ' ');
    if (width > widths[i]) {
      line.append(Shorten(text, widths[i]));
    } else {
      line.append(text.data(), text.size());
    }
    if (!columns_[i].right) line.append(padding, ' ');
  };
  const auto end_line = [&](Style style) {
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&out, Styled(line, style, terminal), "\n");
    line.clear();
  };
  for (size_t i = 0; i < columns_.size(); ++i) {
    add_cell(i, columns_[i].title, WidthOf(columns_[i].title));
  }
  end_line(Style::kBold);
  size_t begin = 0;
  auto cell = cells_.begin();
  for (const Style style : rows_) {
    for (size_t i = 0; i < columns_.size(); ++i, ++cell) {
      add_cell(i, absl::string_view(text_).substr(begin, cell->end - begin),
               cell->width);
      begin = cell->end;
    }
    end_line(style);
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
