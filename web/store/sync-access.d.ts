// The part of workers' file systems that TypeScript's library for pages leaves out, as far as it is used here.
// https://fs.spec.whatwg.org/#api-filesystemsyncaccesshandle

interface FileSystemSyncAccessHandle {
  write(bytes: ArrayBufferView<ArrayBuffer>, options: { readonly at: number }): number
  truncate(size: number): void
  getSize(): number
  flush(): void
  close(): void
}

interface FileSystemFileHandle {
  /** Throws DOMException 'NoModificationAllowedError' while another handle is open. */
  createSyncAccessHandle(): Promise<FileSystemSyncAccessHandle>
}
