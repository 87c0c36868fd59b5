// The real tool, started in processes of its own.

#ifndef WINDLASS_TESTS_FAULT_PROCESSES_H_
#define WINDLASS_TESTS_FAULT_PROCESSES_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace windlass {

// Starts a command whose messages go to the file `log`.
pid_t StartCommand(std::vector<std::string> arguments,
                   const std::string& log = "/dev/null");

// What waitpid says of it.
int WaitFor(pid_t child);

// Starts a command and sends it a signal after a while, unless it is done by
// then. Returns what waitpid says.
int RunAndSignal(std::vector<std::string> arguments, int microseconds,
                 int signal, const std::string& log = "/dev/null");

}  // namespace windlass

#endif  // WINDLASS_TESTS_FAULT_PROCESSES_H_
