// Text that is made to be looked at: columns that fit the terminal, numbers in
// human units, colour where somebody sees it.

#ifndef WINDLASS_TOOLS_TABLE_H_
#define WINDLASS_TOOLS_TABLE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace windlass {

// What stdout leads to.
struct Terminal {
  // In characters; 0 where it is no terminal, and nothing has to fit.
  int width = 0;
  bool colour = false;
};

// A terminal has colours unless NO_COLOR is set or TERM is "dumb".
Terminal StdoutTerminal();

enum class Style { kPlain, kBold, kFaint, kRed, kGreen, kYellow };

// The text in a style, where there are colours.
std::string Styled(absl::string_view text, Style style,
                   const Terminal& terminal);

// The text, shortened in its middle to `width` characters.
std::string Shorten(absl::string_view text, int width);

// Columns of text, aligned. Cells are on one line (process.h, OneLine).
class Table {
 public:
  struct Column {
    const char* title;
    bool right = false;  // where the text stands in its column
  };

  explicit Table(std::vector<Column> columns);

  // As many cells as there are columns.
  void AddRow(absl::Span<const std::string> cells, Style style = Style::kPlain);

  bool empty() const { return rows_.empty(); }

  // A line of titles, and a line a row. Where that is wider than the terminal,
  // the widest columns are shortened.
  std::string Render(const Terminal& terminal) const;

 private:
  struct Cell {
    size_t end;  // in text_; it begins where the one before ends
    int width;
  };

  // What the columns are given.
  std::vector<int> Widths(const Terminal& terminal) const;

  const std::vector<Column> columns_;
  std::vector<int> widest_;  // the widest cell of each column
  // There may be a great many cells, so they have no strings of their own.
  std::string text_;
  std::vector<Cell> cells_;
  std::vector<Style> rows_;
};

// "1,234,567"
std::string FormatCount(int64_t count);

// "8.03 B", as models' sizes are given: thousands, millions, billions.
std::string FormatQuantity(int64_t count);

// Four places: "0.02134", "-1.2e-07", "nan", "-inf".
std::string FormatNumber(double number);

}  // namespace windlass

#endif  // WINDLASS_TOOLS_TABLE_H_
