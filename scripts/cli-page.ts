/** The page about the command line: every command's own help, so that it can say nothing else. */
import { helpText } from '../src/cli/command.ts'
import { groupHelpText, isGroup } from '../src/cli/command-group.ts'
import { toCommand } from '../src/cli/commands/to.ts'
import { ENTRIES } from '../src/cli/main.ts'

const HEAD = `# Command line

What \`spillway help <command>\` prints, command by command. In the repository: \`npm run -s spillway -- <command>\`.

- Exit codes: 0 fine, 1 failed while running, 2 the configuration or the arguments are wrong.
- Answers go to standard output, everything else to standard error. \`--json\` prints what the API said, for scripts.
- Commands that ask a running gateway find its admin address and token in the configuration: [queue API](queue-api.md).
`

export function cliPage(): string {
  const parts = [HEAD, section('--to', helpText(toCommand))]
  for (const entry of ENTRIES) {
    if (!isGroup(entry)) parts.push(section(entry.name, helpText(entry)))
    else parts.push(section(entry.name, groupHelpText(entry)), ...entry.commands.map((command) => section(command.name, helpText(command))))
  }
  return parts.join('\n')
}

function section(name: string, help: string): string {
  return `${name.includes(' ') ? '###' : '##'} ${name}\n\n\`\`\`text\n${help}\`\`\`\n`
}
