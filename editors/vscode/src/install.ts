// Helps to install the server: says once that it is missing, and on the user's click writes a command into a terminal.
// Nothing is downloaded, and no command is run, by us.
import * as vscode from "vscode";

const NEVER = "midspan.neverOfferInstall";
const WAYS: readonly { label: string; detail: string }[] = [
    { label: "pipx install midspan", detail: "An environment of its own, kept by pipx" },
    { label: "uv tool install midspan", detail: "An environment of its own, kept by uv" },
    { label: "python3 -m pip install midspan", detail: "In the Python of the terminal, or its virtual environment" },
];

export class Installer {
    private offered = false;

    constructor(private readonly memento: vscode.Memento) {}

    /** Says that the server is missing, the first time this window finds out. */
    async offer(): Promise<void> {
        if (this.offered || this.memento.get(NEVER)) {
            return;
        }
        this.offered = true;
        const choice = await vscode.window.showInformationMessage(
            "Midspan's server is not installed here, so there will be no suggestions.",
            "Install…",
            "Set Its Path",
            "Don't Ask Again",
        );
        if (choice === "Install…") {
            await this.choose();
        } else if (choice === "Set Its Path") {
            await vscode.commands.executeCommand("workbench.action.openSettings", "midspan.server.command");
        } else if (choice) {
            await this.memento.update(NEVER, true);
        }
    }

    /** Lets the user choose a command and puts it into a terminal, where Enter runs it. */
    async choose(): Promise<void> {
        const copy: vscode.QuickInputButton = { iconPath: new vscode.ThemeIcon("copy"), tooltip: "Copy" };
        const pick = vscode.window.createQuickPick();
        pick.title = "Install Midspan's server";
        pick.placeholder = "The command goes into a terminal; press Enter there to run it";
        pick.items = WAYS.map((way) => ({ ...way, buttons: [copy] }));
        pick.onDidTriggerItemButton(({ item }) => {
            void vscode.env.clipboard.writeText(item.label);
            pick.hide();
        });
        pick.onDidAccept(() => {
            const [way] = pick.selectedItems;
            pick.hide();
            if (way) {
                const terminal = vscode.window.createTerminal("Install Midspan");
                terminal.show();
                terminal.sendText(way.label, false);
            }
        });
        pick.onDidHide(() => pick.dispose());
        pick.show();
    }
}
