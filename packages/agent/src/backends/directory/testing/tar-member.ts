/** What a member of a tar archive made by hand says of itself. */
export interface TarMember {
  /** 0 file, 1 hard link, 2 symlink, 5 folder, x and g extended headers, L GNU's long name. */
  readonly type: string;
  readonly content?: string;
  readonly target?: string;
  /** Records of an extended header in front of it. */
  readonly extended?: Readonly<Record<string, string>>;
}

/** The end of an archive. */
export const tarEnd: Buffer = Buffer.alloc(10_240);

/** One member of a tar archive, as an enemy would write it who does not keep to any rule. */
export function tarMember(name: string, member: TarMember): Buffer {
  const content = Buffer.from(member.content ?? "", "latin1");
  const header = Buffer.alloc(512);
  header.write(name, 0, 100, "latin1");
  header.write("0000644\0", 100);
  header.write("0000000\0", 108);
  header.write("0000000\0", 116);
  header.write(`${content.length.toString(8).padStart(11, "0")}\0`, 124);
  header.write("00000000000\0", 136);
  header.write(member.type, 156);
  header.write(member.target ?? "", 157, 100, "latin1");
  header.write("ustar\x0000", 257);
  header.fill(" ", 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148);
  const padding = Buffer.alloc((512 - (content.length % 512)) % 512);
  const extended = member.extended === undefined ? [] : [extendedHeader(member.extended)];
  return Buffer.concat([...extended, header, content, padding]);
}

function extendedHeader(records: Readonly<Record<string, string>>): Buffer {
  const lines = Object.entries(records).map(([key, text]) => {
    const rest = ` ${key}=${text}\n`;
    let length = rest.length + 1;
    while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
    return `${length}${rest}`;
  });
  return tarMember("./PaxHeaders/x", { type: "x", content: lines.join("") });
}
